// Messages for clients that are away (--backbone-queue): a C2C that finds nobody goes to the queue node if its recipient is known, and is
// given when that one logs in, right after CONFIG. Kept is the plaintext, which is what the relay relays. Thread: the shard's.
#include "net/backbone/internal.h"
#include "shards/base/check.h"

// ---- keeping ----

void backbone_settle_c2c(struct backbone_session *session)
{
    CHECK(session->stage == STAGE_ENTERED && session->c2c != C2C_NONE && session->c2c != C2C_SETTLED);
    session->c2c = C2C_SETTLED;
    if (session->pins == 0 && !session->conn->waits_flushed) // else whoever is at it goes on
        conn_resume(session->conn);
}

static void give_up(struct backbone_session *session, enum backbone_why why)
{
    backbone_tell_undelivered(session, 0, why);
    if (session->stage == STAGE_ENTERED)
        backbone_settle_c2c(session);
}

void backbone_kept_absent(struct backbone_session *session)
{
    CHECK(session->c2c == C2C_GIVEN && session->datagrams == 0 && !session->known_due);
    session->c2c = C2C_CHECKED;
    session->known_due = true;
    backbone_pump(session);
}

void backbone_known_answered(struct backbone_session *session, const struct crypto_task *task, struct bytes der)
{
    struct key recipient;
    if (session->stage == STAGE_OVER)
        return;
    struct backbone_work *work = backbone_lane_ready(&session->in);
    CHECK(session->c2c == C2C_CHECKED && work != NULL);
    if (!task->is_sound) {
        give_up(session, BACKBONE_ABSENT);
        return;
    }
    backbone_address(task->id, der, &recipient);
    session->c2c = C2C_STORED;
    if (!mailbox_keep(session->conn, &recipient, &session->mailbox.key, session->backbone->shared->keep_s, backbone_lane_plain(work)))
        give_up(session, BACKBONE_NOT_KEPT);
}

static void on_stored(struct conn *conn, enum queue_verdict verdict)
{
    static const enum backbone_why whys[] = {
        [QUEUE_KEPT] = BACKBONE_KEPT, [QUEUE_FULL] = BACKBONE_FULL, [QUEUE_FAILED] = BACKBONE_NOT_KEPT};
    struct backbone_session *session = conn->state.backbone;
    CHECK(session->c2c == C2C_STORED && verdict <= QUEUE_FAILED);
    give_up(session, whys[verdict]);
}

// ---- giving ----

void backbone_kept_open(struct backbone_session *session)
{
    struct key key;
    backbone_address(session->id, bytes_of(session->peer.der, session->peer.der_len), &key);
    mailbox_open(&session->mailbox, &key);
}

static struct mailbox *mailbox_of(struct conn *conn)
{
    return &conn->state.backbone->mailbox;
}

static bool on_kept(struct conn *conn, uint64_t number, struct bytes text)
{
    struct backbone_session *session = conn->state.backbone;
    if (!backbone_is_for(session, text)) { // somebody has been at the file
        conn->shard->metrics.datagrams_foreign++;
        mailbox_written(conn, 0, text.len);
        return true;
    }
    if (!backbone_lane_put(session, &session->out, text, bytes_of(NULL, 0), /* is_data= */ false)) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return false;
    }
    session->out.tail->kept_number = number;
    backbone_pump(session);
    return true;
}

static void on_opened(struct conn *conn, const struct queue_memo *memo)
{
    (void)conn; // it may send since CONFIG
    (void)memo;
}

const struct mailbox_room backbone_mailbox = {.of = mailbox_of, .on_kept = on_kept, .on_opened = on_opened, .on_stored = on_stored};
