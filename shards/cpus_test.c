// Lists and cgroup files as texts; the rest against the machine as it is.
#include "shards/cpus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shards/base/check.h"

static const struct cpus allowed = {.count = 6, .ids = {0, 2, 3, 4, 5, 9}};

static void test_lists(void)
{
    static const struct {
        const char *text;
        int result;
        struct cpus cpus;
    } cases[] = {
        {"0", 0, {1, {0}}},
        {"2-5,9", 0, {5, {2, 3, 4, 5, 9}}},
        {"9,0,2-2", 0, {3, {0, 2, 9}}},
        {"2,2,2-3", 0, {2, {2, 3}}},
        {"", -EINVAL, {0}},
        {",", -EINVAL, {0}},
        {"2,", -EINVAL, {0}},
        {",2", -EINVAL, {0}},
        {"2,,3", -EINVAL, {0}},
        {"5-2", -EINVAL, {0}},
        {"2-", -EINVAL, {0}},
        {"-2", -EINVAL, {0}},
        {"2-3-4", -EINVAL, {0}},
        {" 2", -EINVAL, {0}},
        {"2 ", -EINVAL, {0}},
        {"+2", -EINVAL, {0}},
        {"0x2", -EINVAL, {0}},
        {"two", -EINVAL, {0}},
        {"99999999999999999999999", -EINVAL, {0}},
        {"1", -ERANGE, {0}},
        {"2-9", -ERANGE, {0}},
        {"2-999999999999", -ERANGE, {0}},
        {"1024", -ERANGE, {0}},
        {"65538", -ERANGE, {0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cpus cpus = {.count = 77};
        printf("list \"%s\"\n", cases[i].text);
        CHECK(cpus_parse(cases[i].text, &allowed, &cpus) == cases[i].result);
        if (cases[i].result != 0) {
            CHECK(cpus.count == 77); // untouched
            continue;
        }
        CHECK(cpus.count == cases[i].cpus.count);
        CHECK(memcmp(cpus.ids, cases[i].cpus.ids, cpus.count * sizeof(cpus.ids[0])) == 0);
    }
}

// A tree of cgroup files in a temporary folder.
static char mount[256];

static void make(const char *path, const char *text) // text NULL: a folder
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", mount, path);
    if (text == NULL) {
        CHECK(mkdir(full, 0700) == 0);
        return;
    }
    FILE *file = fopen(full, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static void drop(const char *path)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", mount, path);
    CHECK(remove(full) == 0);
}

static void test_quota_v2(void)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } cases[] = {{"max 100000\n", 0},   {"100000 100000\n", 1}, {"150000 100000\n", 2},
                 {"10000 100000\n", 1}, {"400000 50000\n", 8},  {"0 100000\n", 0},
                 {"100000 0\n", 0},     {"100000\n", 0},        {"", 0},
                 {"garbage", 0}};
    make("/a", NULL);
    make("/a/b", NULL);
    make("/a/cpu.max", "max 100000\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        printf("cpu.max \"%s\"\n", cases[i].text);
        make("/a/b/cpu.max", cases[i].text);
        CHECK(cpus_quota_of("0::/a/b\n", mount) == cases[i].cpus);
    }
    make("/a/b/cpu.max", "800000 100000\n");
    make("/a/cpu.max", "300000 100000\n");
    CHECK(cpus_quota_of("0::/a/b\n", mount) == 3); // the group above is tighter
    CHECK(cpus_quota_of("0::/a/b/missing\n", mount) == 3);
    CHECK(cpus_quota_of("0::/a\n", mount) == 3);
    CHECK(cpus_quota_of("0::/\n", mount) == 0);
    CHECK(cpus_quota_of("0::/../../a\n", mount) == 0);
    make("/cpu.max", "100000 100000\n"); // a container sees its own group as the root
    CHECK(cpus_quota_of("0::/\n", mount) == 1);
    CHECK(cpus_quota_of("0::/not/seen/here\n", mount) == 1);
    CHECK(cpus_quota_of("0::/../elsewhere\n", mount) == 1);
    CHECK(cpus_quota_of("", mount) == 0);
    CHECK(cpus_quota_of("0\n:\n::\n0:cpu\n", mount) == 0);
    drop("/cpu.max");
    drop("/a/b/cpu.max");
    drop("/a/cpu.max");
    drop("/a/b");
    drop("/a");
}

static void test_quota_v1(void)
{
    make("/cpu,cpuacct", NULL);
    make("/cpu,cpuacct/g", NULL);
    make("/cpu,cpuacct/g/cpu.cfs_quota_us", "250000\n");
    CHECK(cpus_quota_of("4:cpu,cpuacct:/g\n", mount) == 0); // without its period
    make("/cpu,cpuacct/g/cpu.cfs_period_us", "100000\n");
    CHECK(cpus_quota_of("5:memory:/g\n4:cpu,cpuacct:/g\n0::/\n", mount) == 3);
    CHECK(cpus_quota_of("4:cpuacct:/g\n3:cpuset:/g\n", mount) == 0);
    make("/cpu,cpuacct/g/cpu.cfs_quota_us", "-1\n");
    CHECK(cpus_quota_of("4:cpu,cpuacct:/g\n", mount) == 0);
    drop("/cpu,cpuacct/g/cpu.cfs_quota_us");
    drop("/cpu,cpuacct/g/cpu.cfs_period_us");
    drop("/cpu,cpuacct/g");
    drop("/cpu,cpuacct");
}

static void test_this_machine(void)
{
    struct cpus mine, one;
    CHECK(cpus_allowed(&mine) == 0);
    CHECK(mine.count >= 1);
    for (uint16_t i = 1; i < mine.count; i++)
        CHECK(mine.ids[i - 1] < mine.ids[i]);
    CHECK(cpus_quota() <= CPUS_MAX);

    uint16_t last = mine.ids[mine.count - 1];
    CHECK(cpus_pin_self(last) == 0);
    CHECK(cpus_allowed(&one) == 0);
    CHECK(one.count == 1 && one.ids[0] == last);
    CHECK(cpus_pin_self(CPUS_MAX) == -EINVAL);
}

int main(void)
{
    const char *temporary = getenv("TMPDIR");
    snprintf(mount, sizeof(mount), "%s/cpus_test.XXXXXX", temporary != NULL ? temporary : P_tmpdir);
    CHECK(mkdtemp(mount) != NULL);
    test_lists();
    test_quota_v2();
    test_quota_v1();
    CHECK(rmdir(mount) == 0);
    test_this_machine();
    return 0;
}
