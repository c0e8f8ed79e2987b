// Keeps the TLS context current: see tls_reload.h.
#include "net/tls_reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net/accounts.h"
#include "net/tls_context.h"
#include "shards/base/check.h"
#include "shards/log.h"

#define FILES 3
#define LOOK_NS 1000000000ull
#define TICKET_LOOKS 43200 // after so many looks the ticket keys are new: nobody who steals them reads more than half a day
#define DAYS_LEFT_WARN 14

// What tells two versions of a file apart.
struct stamp {
    uint64_t device, inode, bytes, changed_ns;
};

struct tls_reload {
    struct tls_files files;
    struct tls_identity *identity;
    SSL_CTX *context;
    struct node *node;
    uint16_t shard_count;
    struct timer timer;
    uint32_t looks;
    struct stamp loaded[FILES]; // as they were at the last try to load, sound or not
    struct stamp seen[FILES];   // at the last look
};

static void look(const struct tls_files *files, struct stamp ret_stamps[FILES])
{
    const char *const paths[FILES] = {files->certificate, files->key, files->ocsp};
    for (size_t i = 0; i < FILES; i++) {
        struct stat status;
        ret_stamps[i] = (struct stamp){0};
        if (paths[i] != NULL && stat(paths[i], &status) == 0)
            ret_stamps[i] = (struct stamp){
                .device = status.st_dev,
                .inode = status.st_ino,
                .bytes = (uint64_t)status.st_size,
                .changed_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec,
            };
    }
}

// Loads files and makes a context of them. false: all is as before, and error_text says why.
static bool load(struct tls_reload *reload, char *error_text, size_t error_max)
{
    const struct tls_files *files = &reload->files;
    look(files, reload->loaded);
    memcpy(reload->seen, reload->loaded, sizeof(reload->seen));
    struct tls_identity *identity = tls_identity_load(files->certificate, files->key, files->ocsp, error_text, error_max);
    if (identity == NULL)
        return false;
    SSL_CTX *context = tls_context_create(identity, reload->context);
    if (context == NULL) {
        snprintf(error_text, error_max, "--tls-cert: out of memory");
        tls_identity_destroy(identity);
        return false;
    }
    tls_identity_destroy(reload->identity);
    SSL_CTX_free(reload->context);
    reload->identity = identity;
    reload->context = context;
    struct log_value buffer;
    int days_left = tls_identity_days_left(identity);
    LOG(INFO, "TLS_LOADED", "subject=%s days_left=%d", log_value(tls_identity_subject(identity), &buffer), days_left);
    if (days_left < DAYS_LEFT_WARN)
        LOG(WARN, "TLS_EXPIRES_SOON", "days_left=%d", days_left);
    return true;
}

struct tls_reload *tls_reload_create(const struct tls_files *files, char *error_text, size_t error_max)
{
    CHECK(files->certificate != NULL && files->key != NULL);
    struct tls_reload *reload = calloc(1, sizeof(*reload));
    if (reload == NULL) {
        snprintf(error_text, error_max, "out of memory");
        return NULL;
    }
    reload->files = *files;
    if (load(reload, error_text, error_max))
        return reload;
    free(reload);
    return NULL;
}

void tls_reload_destroy(struct tls_reload *reload)
{
    if (reload == NULL)
        return;
    CHECK(reload->node == NULL);
    tls_identity_destroy(reload->identity);
    SSL_CTX_free(reload->context);
    free(reload);
}

SSL_CTX *tls_reload_context(struct tls_reload *reload)
{
    CHECK(SSL_CTX_up_ref(reload->context) == 1);
    return reload->context;
}

static void publish(struct tls_reload *reload)
{
    CHECK(reload->node != NULL);
    for (uint16_t shard = 0; shard < reload->shard_count; shard++) {
        SSL_CTX *context = tls_reload_context(reload);
        post_write(node_post(reload->node), node_index(reload->node), shard, RECORD_TLS_CONTEXT, bytes_of(&context, sizeof(SSL_CTX *)),
                   bytes_of(NULL, 0));
    }
}

void tls_reload_now(struct tls_reload *reload)
{
    char error_text[512];
    if (reload == NULL || reload->node == NULL)
        return;
    if (load(reload, error_text, sizeof(error_text))) {
        publish(reload);
    } else {
        struct log_value buffer;
        LOG(ERROR, "TLS_REFUSED", "kept=old error=%s", log_value(error_text, &buffer));
    }
}

static void renew_tickets(struct tls_reload *reload)
{
    SSL_CTX *context = tls_context_create(reload->identity, NULL);
    if (context == NULL) {
        LOG(ERROR, "TLS_REFUSED", "kept=old error=\"out of memory\"");
        return;
    }
    SSL_CTX_free(reload->context);
    reload->context = context;
    publish(reload);
}

static void on_time(struct timer *timer, uint64_t now_ns)
{
    struct tls_reload *reload = (struct tls_reload *)(void *)((char *)timer - offsetof(struct tls_reload, timer));
    struct stamp now[FILES];
    look(&reload->files, now);
    // Certificate and key are replaced one after the other: changed files count when they have been left alone for one look.
    bool changed = memcmp(now, reload->loaded, sizeof(now)) != 0;
    bool settled = memcmp(now, reload->seen, sizeof(now)) == 0;
    memcpy(reload->seen, now, sizeof(now));
    if (changed && settled)
        tls_reload_now(reload);
    if (++reload->looks % TICKET_LOOKS == 0)
        renew_tickets(reload);
    timer_set(node_timers(reload->node), timer, now_ns + LOOK_NS);
}

void tls_reload_start(struct tls_reload *reload, struct node *node, uint16_t shard_count)
{
    CHECK(reload->node == NULL && shard_count > 0);
    reload->node = node;
    reload->shard_count = shard_count;
    reload->timer.on_time = on_time;
    timer_set(node_timers(node), &reload->timer, node_now_ns(node) + LOOK_NS);
}

void tls_reload_stop(struct tls_reload *reload)
{
    if (reload == NULL || reload->node == NULL)
        return;
    timer_unset(node_timers(reload->node), &reload->timer);
    reload->node = NULL;
}
