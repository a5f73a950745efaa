/* Executing a plan: the calling process's part, the clone, and the new process's part. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKED = 0xff, CHILD_FAILED = -2 };

struct executable {
    operation_function *function;
    const char *name;
};

static const struct executable executables[] = {
#define OPERATION(code, name, signature, sections) [code] = {op_##name, #name},
#include "operations.def"
#undef OPERATION
};

int fail_with(struct run *run, int error, const char *step, const char *path)
{
    run->error.error = error;
    snprintf(run->error.step, sizeof run->error.step, "%s", step);
    snprintf(run->error.path, sizeof run->error.path, "%s", path ? path : "");
    return -1;
}

int fail(struct run *run, const char *step, const char *path)
{
    return fail_with(run, errno, step, path);
}

int slot_fd(struct run *run, const struct value *slot)
{
    return slot->number == PLAN_NO_SLOT ? AT_FDCWD : run->slots[slot->number];
}

int slot_set(struct run *run, const struct value *slot, int fd)
{
    if (slot->number == PLAN_NO_SLOT)
        return fail_with(run, EINVAL, "slot", "");
    if (run->slots[slot->number] >= 0)
        close(run->slots[slot->number]);
    run->slots[slot->number] = fd;
    return 0;
}

void report_error(int peer, const struct plan_error *error)
{
    char text[640];
    int length = snprintf(text, sizeof text, "error %d %s %d %s", error->index, error->step, error->error, error->path);
    if (length >= (int)sizeof text)
        length = sizeof text - 1;
    send(peer, text, (size_t)length, MSG_NOSIGNAL);
}

static int run_range(struct run *run, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct operation *op = &run->plan->operations[i];
        run->error.index = (int)i;
        if (executables[op->code].function(run, op) && !(op->flags & PLAN_OPTIONAL))
            return -1;
    }
    return 0;
}

/* clone3(2). With CLONE_PARENT the exit signal is the caller's own. */
pid_t clone_process(uint64_t flags, int cgroup, int *pidfd)
{
    struct clone_args args = {
        .flags = flags | (pidfd ? CLONE_PIDFD : 0) | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static int move_high(int fd, int least)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, least);
    if (high >= 0)
        close(fd);
    return high;
}

static int install_stdio(struct run *run)
{
    const int *stdio = run->inputs.stdio;
    int high[3];

    for (int i = 0; i < 3; i++) {
        high[i] = stdio[i] < 0 ? -1 : fcntl(stdio[i], F_DUPFD_CLOEXEC, 3 + run->inputs.preserve);
        if (stdio[i] >= 0 && high[i] < 0)
            return fail(run, "dup", "");
    }
    for (int i = 0; i < 3; i++)
        if (high[i] >= 0) {
            if (dup2(high[i], i) < 0)
                return fail(run, "dup2", "");
            close(high[i]);
        }
    return 0;
}

static void __attribute__((noreturn)) run_child(struct run *run)
{
    sigset_t none;
    int least = 3 + run->inputs.preserve;

    run->umask = umask(0); /* modes in a plan are meant as they are */
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    run->inputs.peer = move_high(run->inputs.peer, least);
    run->inputs.listener = move_high(run->inputs.listener, least);
    run->sync = move_high(run->sync, least);
    run->error.index = -1;
    if (!install_stdio(run))
        run_range(run, run->plan->child_at + 1, run->plan->count);
    report_error(run->inputs.peer, &run->error);
    _exit(1);
}

int op_send(struct run *run, const struct operation *op)
{
    uint8_t phase = (uint8_t)op->args[0].number;
    return send(run->sync, &phase, 1, MSG_NOSIGNAL) == 1 ? 0 : fail(run, "send", "");
}

static int open_proc(struct run *run)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)run->child);
    if (run->proc >= 0)
        close(run->proc);
    run->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return run->proc < 0 ? fail(run, "open", path) : 0;
}

/* The process we cloned has made another (op_fork) and gone: that one is the container's now. */
static int adopt(struct run *run, const uint8_t *message)
{
    pid_t old = run->child, new;
    run->plan->adopted = true;
    memcpy(&new, message + 1, sizeof new);
    if (run->inputs.sibling)
        run->plan->left = old;
    else
        waitpid(old, NULL, __WALL);
    close(run->pidfd);
    run->child = new;
    run->pidfd = (int)syscall(SYS_pidfd_open, new, 0);
    if (run->pidfd < 0)
        return fail(run, "pidfd_open", "");
    return open_proc(run);
}

static int receive(struct run *run, int wanted)
{
    uint8_t message[1 + sizeof(pid_t)];
    for (;;) {
        ssize_t n = recv(run->sync, message, sizeof message, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(run, "recv", "");
        if (n == 0) {
            run->error.index = CHILD_FAILED;
            return fail_with(run, ECHILD, "recv", "");
        }
        if (run->child && message[0] == FORKED && n == sizeof message) {
            if (adopt(run, message))
                return -1;
            if (wanted == FORKED)
                return 0;
        } else if (message[0] == wanted) {
            return 0;
        } else {
            return fail_with(run, EPROTO, "recv", "");
        }
    }
}

int op_recv(struct run *run, const struct operation *op)
{
    return receive(run, (int)op->args[0].number);
}

/* The parent of the new process is ours too, so that what leaves the first PID namespace stays a child. */
int op_fork(struct run *run, const struct operation *op)
{
    uint8_t message[1 + sizeof(pid_t)] = {FORKED};
    (void)op;
    pid_t pid = clone_process(CLONE_PARENT, -1, NULL);
    if (pid < 0)
        return fail(run, "clone3", "");
    if (pid == 0)
        return 0;
    memcpy(message + 1, &pid, sizeof pid);
    if (send(run->sync, message, sizeof message, MSG_NOSIGNAL) < 0)
        kill(pid, SIGKILL);
    _exit(0);
}

/* Markers: the executor itself does what they stand for. */
int op_child(struct run *run, const struct operation *op)
{
    (void)run;
    (void)op;
    return 0;
}

int op_clone(struct run *run, const struct operation *op)
{
    int pair[2];
    uint64_t flags = op->args[0].number | (run->inputs.sibling ? CLONE_PARENT : 0);
    const uint64_t allowed = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUSER |
                             CLONE_NEWCGROUP | CLONE_PARENT;
    if (flags & ~allowed)
        return fail_with(run, EINVAL, "clone3", "flags");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fail(run, "socketpair", "");
    int cgroup = op->args[1].number == PLAN_NO_SLOT ? -1 : slot_fd(run, &op->args[1]);
    run->child = clone_process(flags, cgroup, &run->pidfd);
    if (run->child == 0) {
        close(pair[0]);
        run->sync = pair[1];
        run_child(run);
    }
    int error = errno;
    close(pair[1]);
    run->sync = pair[0];
    return run->child < 0 ? fail_with(run, error, "clone3", "") : open_proc(run);
}

static bool forks(const struct plan *plan)
{
    for (size_t i = plan->child_at; i < plan->count; i++)
        if (executables[plan->operations[i].code].function == op_fork)
            return true;
    return false;
}

static int run_parent(struct run *run)
{
    struct plan *plan = run->plan;
    if (run_range(run, 0, plan->child_at))
        return -1;
    run->error.index = -1;
    return forks(plan) && !plan->adopted ? receive(run, FORKED) : 0;
}

static void close_all(struct run *run)
{
    for (int i = 0; i < PLAN_SLOTS; i++)
        if (run->slots[i] >= 0)
            close(run->slots[i]);
    if (run->sync >= 0)
        close(run->sync);
    if (run->proc >= 0)
        close(run->proc);
}

pid_t plan_start(struct plan *plan, const struct plan_inputs *inputs, int *pidfd, struct plan_error *error)
{
    struct run run = {.plan = plan, .inputs = *inputs, .sync = -1, .pidfd = -1, .proc = -1};
    for (int i = 0; i < PLAN_SLOTS; i++)
        run.slots[i] = -1;
    int result = run_parent(&run);
    if (result && run.child > 0) {
        kill(run.child, SIGKILL);
        if (!inputs->sibling)
            waitpid(run.child, NULL, __WALL);
    }
    close_all(&run);
    if (result || !pidfd) {
        if (run.pidfd >= 0)
            close(run.pidfd);
    } else {
        *pidfd = run.pidfd;
    }
    if (result)
        *error = run.error;
    return result ? -1 : run.child;
}

pid_t plan_left(const struct plan *plan)
{
    return plan->left;
}
