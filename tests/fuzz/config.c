// The config file: anything is either refused with a sentence, or its effective form reads back as the same.
#include "shards/base/check.h"
#include "tools/options.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct command commands[] = {{"server", COMMAND_SERVER, "", 0, 0, "run", NULL}};

// Reads the text as config file; the effective configuration as malloc'd text, NULL when it is refused.
static char *effective(const void *text, size_t len)
{
    static struct options options;
    char path[64];
    char *argv[] = {(char[]){"shardrelay"}, (char[]){"server"}, (char[]){"--config"}, path, NULL};
    char *printed = NULL;
    size_t printed_len;
    int fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int code = options_parse(&options, commands, 1, 4, argv, NULL);
    CHECK((code == 0) == (options.error[0] == '\0'));
    if (code == 0) {
        CHECK(options.config.listener_count >= 1 && options.config.listener_count <= CONFIG_LISTENERS_MAX);
        FILE *out = open_memstream(&printed, &printed_len);
        CHECK(out != NULL && options_print(out, &options) && fclose(out) == 0);
    }
    options_fini(&options);
    close(fd);
    return printed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1u << 16)
        return 0;
    char *once = effective(data, size);
    if (once == NULL)
        return 0;
    char *twice = effective(once, strlen(once));
    CHECK(twice != NULL && strcmp(once, twice) == 0);
    free(once);
    free(twice);
    return 0;
}
