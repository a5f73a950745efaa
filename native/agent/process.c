/* Processes made from plans: the executor (native/common) runs them, this file joins their stdio to channels
 * and tells the host how they go. The peer protocol is that of docs/internals/monitor.md. */
#define _GNU_SOURCE
#include "agent.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEER_MESSAGE = 1024, NO_CALL = 0 };

struct process {
    struct watched watched;
    struct process *next;
    uint32_t id;
    uint32_t channels[3];
    pid_t pid;
    int peer;     /* -1 when the program has been executed, or failed to be */
    int terminal; /* for resizing; -1 if there is none */
    uint32_t pending; /* the call that waits for an answer about this process */
    bool started;
};

static struct process *processes;

static struct process *find(uint32_t id)
{
    struct process *process = processes;

    while (process && process->id != id)
        process = process->next;
    return process;
}

static void answer(struct process *process, int error, const char *text)
{
    if (process->pending != NO_CALL)
        link_reply(process->pending, error, text, strlen(text));
    process->pending = NO_CALL;
}

static void forget(struct process *process)
{
    for (struct process **link = &processes; *link; link = &(*link)->next)
        if (*link == process) {
            *link = process->next;
            break;
        }
    if (process->peer >= 0) {
        unwatch(process->peer);
        close(process->peer);
    }
    if (process->terminal >= 0)
        close(process->terminal);
    free(process);
}

static void close_peer(struct process *process)
{
    unwatch(process->peer);
    close(process->peer);
    process->peer = -1;
}

/* Joins the terminal's master to the channels: one descriptor each way, and one to resize by. */
static void take_console(struct process *process, int master)
{
    int copy = fcntl(master, F_DUPFD_CLOEXEC, 3);

    process->terminal = fcntl(master, F_DUPFD_CLOEXEC, 3);
    if (copy < 0 || process->terminal < 0)
        die("dup");
    if (!process->channels[0] || channel_writer(process->channels[0], copy))
        close(copy);
    if (!process->channels[1] || channel_reader(process->channels[1], master))
        close(master);
}

static ssize_t receive(int fd, char *text, size_t size, int *descriptor)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {text, size - 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };

    *descriptor = -1;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return n;
    text[n] = 0;
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    if (part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
        part->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(descriptor, CMSG_DATA(part), sizeof(int));
    return n;
}

/* The process talks while it is being made; its socket's end after `start` means that it has been executed. */
static void peer_ready(struct watched *self, uint32_t events)
{
    struct process *process = (struct process *)self;
    char text[PEER_MESSAGE];
    int descriptor, error;

    (void)events;
    ssize_t n = receive(process->peer, text, sizeof text, &descriptor);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_peer(process);
        answer(process, process->started ? 0 : ESRCH, "");
        if (process->pid <= 0) /* it never was: no exit will be collected */
            forget(process);
        return;
    }
    if (!strncmp(text, "console", 7) && descriptor >= 0) {
        take_console(process, descriptor);
        return;
    }
    if (descriptor >= 0)
        close(descriptor);
    if (!strncmp(text, "ready", 5)) {
        snprintf(text, sizeof text, "%d", (int)process->pid);
        answer(process, 0, text);
    } else if (!strncmp(text, "error ", 6)) {
        if (sscanf(text, "error %*d %*s %d", &error) != 1 || error <= 0)
            error = EPROTO;
        answer(process, error, text + 6);
    } else if (!strcmp(text, "started")) {
        answer(process, 0, "");
    }
}

/* A pipe for one stream: the agent's end joined to the channel, the other end returned; -1 and errno. */
static int stream_end(uint32_t channel, bool input)
{
    int ends[2];

    if (!channel)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    int error = input ? channel_writer(channel, ends[1]) : channel_reader(channel, ends[0]);
    if (error) {
        close(ends[0]);
        close(ends[1]);
        errno = error;
        return -1;
    }
    return input ? ends[0] : ends[1];
}

static int describe(const struct plan_error *error, char *result, size_t *size)
{
    int n = snprintf(result, *size, "%d %s %d %s", error->index, error->step, error->error, error->path);

    *size = n > 0 && (size_t)n < *size ? (size_t)n : 0;
    return error->error ? error->error : EPROTO;
}

static int launch(struct process *process, struct plan *plan, bool terminal, int *stdio, char *result, size_t *size)
{
    struct plan_error error = {.index = -1};
    struct plan_inputs inputs = {.listener = -1};
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        *size = 0;
        return errno;
    }
    for (int i = 0; i < 3; i++)
        inputs.stdio[i] = terminal ? -1 : stdio[i];
    inputs.peer = sockets[1];
    process->peer = sockets[0];
    watch(process->peer, &process->watched, EPOLLIN);
    process->pid = plan_start(plan, &inputs, NULL, &error);
    close(sockets[1]);
    /* Index -2: the new process has told the peer socket itself why it failed. */
    if (process->pid < 0 && error.index != -2)
        return describe(&error, result, size);
    return 0;
}

/* Arguments: id, plan, terminal (0 or 1), channels of stdin, stdout and stderr (0: none).
 * Answers when the process is ready, with its PID; or with "INDEX STEP ERRNO PATH". -1: answered later. */
int process_create(const struct call *call, char *result, size_t *size)
{
    uint64_t numbers[6] = {0};
    struct plan_error error = {.index = -1};
    struct plan *plan;
    int stdio[3] = {-1, -1, -1}, code = 0;
    size_t room = *size;

    *size = 0;
    for (int i = 0; i < call->count && i < 6; i++)
        if (i != 1)
            memcpy(&numbers[i], call->arguments[i].data, sizeof numbers[i]);
    if (!numbers[0] || find((uint32_t)numbers[0]))
        return EEXIST;
    if (plan_parse(&plan, (const uint8_t *)call->arguments[1].data, call->arguments[1].size, &error) < 0) {
        *size = room;
        return describe(&error, result, size);
    }
    struct process *process = allocate(sizeof *process);
    *process = (struct process){
        .watched = {peer_ready}, .next = processes, .id = (uint32_t)numbers[0], .peer = -1, .terminal = -1,
        .channels = {(uint32_t)numbers[3], (uint32_t)numbers[4], (uint32_t)numbers[5]},
    };
    bool terminal = numbers[2];
    for (int i = 0; !terminal && !code && i < 3; i++) {
        stdio[i] = stream_end(process->channels[i], i == 0);
        code = stdio[i] < 0 ? errno : 0;
    }
    processes = process;
    process->pending = call->number;
    if (!code) {
        size_t used = room;
        code = launch(process, plan, terminal, stdio, result, &used);
        *size = code ? used : 0;
    }
    plan_free(plan);
    for (int i = 0; i < 3; i++)
        if (stdio[i] >= 0)
            close(stdio[i]);
    if (code) {
        for (int i = 0; i < 3; i++)
            channel_end(process->channels[i]);
        forget(process);
        return code;
    }
    return -1;
}

/* Answered when the program has been executed, or with "INDEX STEP ERRNO PATH". */
int process_start(uint32_t id, uint32_t call)
{
    struct process *process = find(id);

    if (!process || process->peer < 0)
        return ESRCH;
    if (process->started || process->pending != NO_CALL)
        return EALREADY;
    if (send(process->peer, "start", 5, MSG_NOSIGNAL) < 0)
        return errno;
    process->started = true;
    process->pending = call;
    return -1;
}

int process_signal(uint32_t id, int signal)
{
    struct process *process = find(id);

    if (!process || process->pid <= 0)
        return ESRCH;
    return kill(process->pid, signal) < 0 ? errno : 0;
}

int process_resize(uint32_t id, int rows, int columns)
{
    struct process *process = find(id);
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    if (!process || process->terminal < 0)
        return ESRCH;
    return ioctl(process->terminal, TIOCSWINSZ, &size) < 0 ? errno : 0;
}

/* Collects every child; the host hears of those it knows. Their pipes' ends follow on their own. */
void processes_reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
        for (struct process *process = processes, *next; process; process = next) {
            uint32_t code = (uint32_t)status;
            next = process->next;
            if (process->pid != pid)
                continue;
            /* What it said last comes before the news of its end. */
            if (process->peer >= 0)
                peer_ready(&process->watched, 0);
            answer(process, ESRCH, "");
            link_send(FRAME_EXIT, process->id, &code, sizeof code);
            forget(process);
        }
}
