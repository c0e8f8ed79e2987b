// A failed CHECK must abort, say where and what, and do so in release builds too.
#include "shards/base/check.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail_in_child(int stderr_fd)
{
    dup2(stderr_fd, STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    int evaluations = 0;
    CHECK(++evaluations == 1);
    CHECK(evaluations == 2);
    _exit(0);
}

int main(void)
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        fail_in_child(fds[1]);
    close(fds[1]);

    char text[256];
    size_t used = 0;
    ssize_t got;
    while ((got = read(fds[0], text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    close(fds[0]);

    int status;
    CHECK(waitpid(child, &status, 0) == child);
    printf("%s", text);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(text, ": check failed: evaluations == 2") != NULL);
    return 0;
}
