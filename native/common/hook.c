/* Hooks: programs of the host that are told the container's state on their standard input. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char placeholder[] = "@PID@";
static const char inherit[] = "@ENV@"; /* in place of an environment: the runtime's own */

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* The state is written to the pipe at once: what does not fit a pipe's buffer is refused before. */
static int write_state(int fd, const char *state, pid_t pid)
{
    char number[16];
    const char *at = strstr(state, placeholder);
    if (!at)
        return write_whole(fd, state, strlen(state));
    int length = snprintf(number, sizeof number, "%d", (int)pid);
    if (write_whole(fd, state, (size_t)(at - state)) || write_whole(fd, number, (size_t)length))
        return -1;
    at += sizeof placeholder - 1;
    return write_whole(fd, at, strlen(at));
}

static void __attribute__((noreturn)) become_hook(const struct operation *op, int input, int output)
{
    dup2(input, 0);
    dup2(output, 1);
    dup2(output, 2);
    syscall(SYS_close_range, 3, ~0U, 0);
    const char **given = op->args[2].list;
    bool inherits = given[0] && !strcmp(given[0], inherit);
    execve(op->args[0].string, (char **)op->args[1].list, inherits ? environ : (char **)given);
    dprintf(2, "%s", strerror(errno));
    _exit(127);
}

struct watch {
    int pidfd, output;
    char text[256];
    size_t length;
};

/* Until the hook ends: keeps the beginning of what it prints, drops the rest. 0, or -1 on time-out. */
static int watch_hook(struct watch *watch, uint64_t seconds)
{
    long long end = seconds ? now_ms() + (long long)seconds * 1000 : 0;
    char scratch[4096];
    struct pollfd polls[2] = {{.fd = watch->pidfd, .events = POLLIN}, {.fd = watch->output, .events = POLLIN}};

    for (;;) {
        long long left = end ? end - now_ms() : -1;
        if (end && left <= 0)
            return -1;
        int n = poll(polls, 2, (int)left);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0 && polls[1].revents) {
            ssize_t got = read(watch->output, scratch, sizeof scratch);
            if (got <= 0)
                polls[1].fd = -1;
            else if (watch->length < sizeof watch->text - 1) {
                size_t room = sizeof watch->text - 1 - watch->length;
                size_t take = (size_t)got < room ? (size_t)got : room;
                memcpy(watch->text + watch->length, scratch, take);
                watch->length += take;
            }
            continue;
        }
        if (n > 0 && polls[0].revents)
            return 0;
    }
}

static int judge(struct run *run, const struct operation *op, struct watch *watch, int status, bool late)
{
    char text[400];
    watch->text[watch->length] = 0;
    if (late)
        return fail_with(run, ETIMEDOUT, "hook", op->args[0].string);
    if (!status)
        return 0;
    snprintf(text, sizeof text, "%s: %s %d: %s", op->args[0].string, WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), watch->text);
    return fail_with(run, ECANCELED, "hook", text);
}

/* program, arguments, environment, time limit in seconds (0: none), state ("@PID@" is the container's) */
int op_hook(struct run *run, const struct operation *op)
{
    int input[2], output[2], status = 0;
    const char *state = op->args[4].string;
    pid_t container = run->child ? run->child : getpid();
    struct watch watch = {.length = 0};

    if (op->args[4].number > 60000)
        return fail_with(run, E2BIG, "hook", "the container's state is too large");
    if (pipe2(input, O_CLOEXEC) < 0 || pipe2(output, O_CLOEXEC) < 0)
        return fail(run, "pipe", "");
    pid_t pid = clone_process(0, -1, &watch.pidfd);
    if (pid == 0)
        become_hook(op, input[0], output[1]);
    int error = errno;
    close(input[0]);
    close(output[1]);
    watch.output = output[0];
    int result = pid < 0 ? fail_with(run, error, "clone3", op->args[0].string) : 0;
    if (pid > 0) {
        void (*old)(int) = signal(SIGPIPE, SIG_IGN);
        write_state(input[1], state, container);
        signal(SIGPIPE, old);
        close(input[1]);
        bool late = watch_hook(&watch, op->args[3].number) < 0;
        if (late)
            kill(pid, SIGKILL);
        while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
            ;
        close(watch.pidfd);
        result = judge(run, op, &watch, status, late);
    } else {
        close(input[1]);
    }
    close(output[0]);
    return result;
}
