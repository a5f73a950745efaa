/* The life of a monitor: set up, watch until the process has ended and everyone knows, leave. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CODE_NOT_EXECUTABLE = 126, CODE_NOT_FOUND = 127 };

static struct launch launch_record;
const struct launch *launched = &launch_record;

static struct {
    bool failed, ended, announced;
    int code, signal;
    struct timespec when;
    char failure[MAX_TEXT];
} outcome;

static volatile sig_atomic_t children_changed;

const char *phase(void)
{
    if (outcome.announced)
        return "exited";
    return peer.started ? "running" : peer.ready ? "created" : "creating";
}

void event_text(enum event event, char *buffer, size_t size)
{
    switch (event) {
    case EVENT_STARTED:
        snprintf(buffer, size, "started");
        break;
    case EVENT_OOM:
        snprintf(buffer, size, "oom");
        break;
    case EVENT_FAILED:
        snprintf(buffer, size, "error %s", outcome.failure);
        break;
    case EVENT_EXITED: {
        int n = snprintf(buffer, size, "exited %d%s", outcome.code, oom_happened() ? " oom" : "");
        if (outcome.signal)
            snprintf(buffer + n, size - (size_t)n, " signal %d", outcome.signal);
        break;
    }
    }
}

static void tell(enum event event)
{
    char text[MAX_TEXT];

    event_text(event, text, sizeof text);
    send_text(REPORT_FD, "%s", text);
    clients_event(event);
}

void tell_created(pid_t pid)
{
    send_text(REPORT_FD, "created %d", (int)pid);
}

void tell_started(void)
{
    if (!outcome.failed)
        tell(EVENT_STARTED);
}

void tell_oom(void)
{
    tell(EVENT_OOM);
}

/* The first failure is the one that counts: "INDEX STEP ERRNO PATH". */
void tell_failed(const char *text)
{
    if (outcome.failed)
        return;
    outcome.failed = true;
    snprintf(outcome.failure, sizeof outcome.failure, "%s", text);
    tell(EVENT_FAILED);
}

void tell_exited(int code, int number)
{
    if (outcome.ended)
        return;
    outcome.ended = true;
    outcome.code = code;
    outcome.signal = number;
    clock_gettime(CLOCK_REALTIME, &outcome.when);
}

/* A program that could not be executed ends as in a shell, whatever its creator ended with. */
static void judge_failure(void)
{
    char step[64] = "";
    int error = 0;

    if (sscanf(outcome.failure, "%*d %63s %d", step, &error) == 2 && !strcmp(step, "execve")) {
        outcome.code = error == ENOENT || error == ENOTDIR ? CODE_NOT_FOUND : CODE_NOT_EXECUTABLE;
        outcome.signal = 0;
    }
}

static void write_exit_record(void)
{
    char text[128];

    snprintf(text, sizeof text, "%d %d %d %lld.%09ld\n", outcome.code, outcome.signal, oom_happened(),
             (long long)outcome.when.tv_sec, outcome.when.tv_nsec);
    write_file_at(STATE_FD, "exit", text, launched->durable);
}

/* Once the process has ended and its output is read: record, then tell. A creation that failed leaves none. */
static void announce(void)
{
    if (outcome.announced || !outcome.ended || !streams_drain())
        return;
    outcome.announced = true;
    log_close();
    if (outcome.failed)
        judge_failure();
    if (peer.ready) {
        write_exit_record();
        tell(EVENT_EXITED);
    }
    clients_close_listener();
}

/* Descendants may go on writing; what they write is still logged. */
static bool finished(void)
{
    if (outcome.failed && !peer.ready)
        return clients_settled();
    return outcome.announced && !streams_open_yet() && clients_settled();
}

static void note_children(int number)
{
    (void)number;
    children_changed = 1;
}

/* Handled rather than ignored: an ignored signal would stay ignored in the process that is started. */
static void no_action(int number)
{
    (void)number;
}

static void set_up_signals(void)
{
    static const int survived[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXFSZ, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = no_action, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < sizeof survived / sizeof *survived; i++)
        sigaction(survived[i], &action, NULL);
    action.sa_handler = note_children;
    sigaction(SIGCHLD, &action, NULL);
}

/* Field 22 of proc(5) stat; the name before it may hold anything, but its last parenthesis is the end of it. */
static unsigned long long start_time(void)
{
    char text[1024], *field;
    unsigned long long ticks = 0;

    if (read_file(AT_FDCWD, "/proc/self/stat", text, sizeof text) > 0 && (field = strrchr(text, ')')))
        sscanf(field + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks);
    return ticks;
}

static int write_own_pid(void)
{
    char text[64];

    snprintf(text, sizeof text, "%d %llu\n", (int)getpid(), start_time());
    return write_file_at(STATE_FD, "monitor.pid", text, false);
}

/* Returns the step that failed, or NULL. */
static const char *set_up(const struct launch *launch, struct child_stdio *stdio)
{
    if (write_own_pid() < 0)
        return "monitor.pid";
    if (clients_listen() < 0)
        return "control";
    if (launch->client) {
        int own = fcntl((int)launch->client, F_DUPFD_CLOEXEC, 0);
        if (own < 0 || clients_add(own) < 0)
            return "client";
    }
    if (launch->lease && peer_lease((pid_t)launch->lease) < 0)
        return "lease";
    if (log_open(launch->log, launch->log_size, launch->log_files) < 0)
        return "log";
    return streams_open(launch, stdio) < 0 ? "stdio" : NULL;
}

/* From here on the caller's descriptors are the process's alone: whoever reads them sees its end. */
static void let_go(int null, int given_end, struct child_stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        if (stdio->fds[i] > 2)
            close(stdio->fds[i]);
        for (int other = i + 1; other < 3; other++)
            if (stdio->fds[other] == stdio->fds[i])
                stdio->fds[other] = -1;
        dup2(null, i);
    }
    close(3);
    if (given_end > FIRST_GIVEN_FD)
        syscall(SYS_close_range, FIRST_GIVEN_FD, given_end - 1, 0);
}

/* What only the start needed of the program's pages; what is needed again comes back by itself. */
static void forget_start(void)
{
    extern char __executable_start[], etext[];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)__executable_start & ~(page - 1), to = (uintptr_t)etext & ~(page - 1);

    madvise((void *)from, to - from, MADV_DONTNEED);
}

static void report_ready(struct source *source, uint32_t events)
{
    char text[64];

    (void)events;
    ssize_t n = receive(source->fd, text, sizeof text, NULL);
    if (n > 0 && !strcmp(text, "start"))
        peer_begin();
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    /* The number stays taken: a client must not come to be where reports are sent. */
    loop_want(source, 0);
    dup2(STDIN_FILENO, REPORT_FD);
}

static int watch(struct source *report)
{
    loop_open();
    if (loop_add(report, REPORT_FD, EPOLLIN, report_ready) < 0)
        return 1;
    forget_start();
    for (;;) {
        if (children_changed) {
            children_changed = 0;
            peer_reap_orphans();
        }
        announce();
        if (finished()) {
            peer_signal(SIGKILL);
            return 0;
        }
        if (loop_once() < 0)
            return 1;
    }
}

int main(void)
{
    struct source report = {.fd = -1};
    struct child_stdio stdio;
    const char *fault;
    char text[MAX_TEXT];

    prctl(PR_SET_NAME, "trimaran-monit");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    set_up_signals();
    /* Descriptors are given without a gap: the first free number is the end of them. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (null < 0 || launch_read(&launch_record, 3, &fault) < 0) {
        send_text(REPORT_FD, "error -1 launch %d %s", errno, null < 0 ? "/dev/null" : fault);
        return 1;
    }
    if ((fault = set_up(&launch_record, &stdio))) {
        snprintf(text, sizeof text, "-1 %s %d %s", fault, errno, !strcmp(fault, "log") ? launched->log : "");
        tell_failed(text);
        return 1;
    }
    peer.start_wanted = launched->start == WHEN_NOW;
    int started = peer_start(&launch_record, &stdio);
    let_go(null, null, &stdio);
    return started < 0 ? 1 : watch(&report);
}
