// Runs each file of a corpus folder through a fuzz main, so that every build checks the seeds. An empty corpus is a failure.
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *folder, const char *name)
{
    char path[4096];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    CHECK(len > 0 && (size_t)len < sizeof(path));
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    uint8_t *large = malloc(1 << 20);
    CHECK(large != NULL);
    size_t size = fread(large, 1, 1 << 20, file);
    CHECK(feof(file) != 0);
    fclose(file);
    uint8_t *exact = malloc(size + 1); // of its size, so that AddressSanitizer sees a read beyond it
    CHECK(exact != NULL);
    memcpy(exact + 1, large, size);
    printf("%s\n", name);
    fflush(stdout);
    LLVMFuzzerTestOneInput(exact + 1, size);
    free(exact);
    free(large);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    DIR *folder = opendir(argv[1]);
    CHECK(folder != NULL);
    int count = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        run(argv[1], entry->d_name);
        count++;
    }
    closedir(folder);
    CHECK(count > 0);
    return 0;
}
