/* The peer: what created the process, and says how it goes. One text a packet over a SOCK_SEQPACKET socket. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct peer peer = {.socket = {.fd = -1}, .process = {.fd = -1}};

/* What a connection that ended without saying how its process did counts as. */
enum { CODE_LOST = 255 };

static void on_started(void)
{
    if (peer.started)
        return;
    peer.started = true;
    tell_started();
}

static void send_start(void)
{
    if (peer.start_sent)
        return;
    peer.start_sent = true;
    if (launched->pid_file)
        on_started();
    else
        send_text(peer.socket.fd, "start");
}

int peer_begin(void)
{
    if (peer.start_sent) {
        errno = EALREADY;
        return -1;
    }
    peer.start_wanted = true;
    if (peer.ready)
        send_start();
    return 0;
}

int peer_signal(int number)
{
    if (launched->mode == MODE_CONNECT)
        return send_text(peer.socket.fd, "signal %d", number);
    if (peer.process.fd < 0) {
        errno = ESRCH;
        return -1;
    }
    return (int)syscall(SYS_pidfd_send_signal, peer.process.fd, number, NULL, 0);
}

static void on_lease_end(struct source *source, uint32_t events)
{
    (void)events;
    loop_remove(source);
    peer_signal(SIGKILL);
}

/* When the holder ends, so does the process. */
int peer_lease(pid_t holder)
{
    static struct source lease = {.fd = -1};
    int fd = (int)syscall(SYS_pidfd_open, holder, 0);

    return fd < 0 ? -1 : loop_add(&lease, fd, EPOLLIN, on_lease_end);
}

void peer_resize(unsigned rows, unsigned columns)
{
    if (launched->mode == MODE_CONNECT)
        send_text(peer.socket.fd, "resize %u %u", rows, columns);
}

static void on_ready(pid_t pid)
{
    if (peer.ready)
        return;
    peer.ready = true;
    if (launched->mode != MODE_PLAN)
        peer.pid = pid;
    oom_watch(launched->oom);
    tell_created(peer.pid);
    if (peer.start_wanted)
        send_start();
}

static void on_text(char *text, int passed)
{
    if (!strcmp(text, "console") && passed >= 0) {
        streams_console(passed);
        return;
    }
    if (passed >= 0)
        close(passed);
    if (!strncmp(text, "ready", 5) && (!text[5] || text[5] == ' '))
        on_ready((pid_t)atoi(text + 5));
    else if (!strncmp(text, "error ", 6))
        tell_failed(text + 6);
    else if (!strcmp(text, "started"))
        on_started();
    else if (!strncmp(text, "exited ", 7) && launched->mode == MODE_CONNECT)
        tell_exited(atoi(text + 7) & 0xFF, 0);
}

/* The end of the socket: the program has been executed, or, of a server, the connection is lost. */
static void on_end(void)
{
    loop_remove(&peer.socket);
    if (launched->mode == MODE_CONNECT)
        tell_exited(CODE_LOST, 0);
    else if (peer.start_sent)
        on_started();
}

void peer_on_packet(struct source *source, uint32_t events)
{
    char text[MAX_TEXT];
    int passed = -1;

    (void)events;
    ssize_t n = receive(source->fd, text, sizeof text, &passed);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        on_end();
    else
        on_text(text, passed);
}

/* What the peer said before it ended is still in the socket, and comes before its end. */
void peer_read_last_words(void)
{
    while (peer.socket.fd >= 0) {
        char text[MAX_TEXT];
        int passed = -1;
        ssize_t n = receive(peer.socket.fd, text, sizeof text, &passed);
        if (n <= 0) {
            if (n == 0)
                on_end();
            return;
        }
        on_text(text, passed);
    }
}

void peer_on_exit(struct source *source, uint32_t events)
{
    siginfo_t info = {0};
    char text[64];

    (void)events;
    if (waitid(P_PIDFD, (id_t)source->fd, &info, WEXITED | WNOHANG | __WALL) < 0 || !info.si_pid)
        return;
    loop_remove(source);
    peer_read_last_words();
    bool killed = info.si_code != CLD_EXITED;
    int code = killed ? 128 + info.si_status : info.si_status;
    if (!peer.ready) {
        snprintf(text, sizeof text, "-1 ended %d %d", ECHILD, code);
        tell_failed(text);
    }
    tell_exited(code, killed ? info.si_status : 0);
}

/* The process that a foreign runtime has created and named in its file is ours, since its parent is gone. */
static int adopt(void)
{
    char text[32];

    if (read_file(AT_FDCWD, launched->pid_file, text, sizeof text) <= 0)
        return -1;
    pid_t pid = (pid_t)atoi(text);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || loop_add(&peer.process, fd, EPOLLIN, peer_on_exit) < 0)
        return -1;
    on_ready(pid);
    return 0;
}

void peer_on_command_exit(struct source *source, uint32_t events)
{
    siginfo_t info = {0};
    char text[MAX_TEXT];

    (void)events;
    if (waitid(P_PIDFD, (id_t)source->fd, &info, WEXITED | WNOHANG | __WALL) < 0 || !info.si_pid)
        return;
    loop_remove(source);
    peer_read_last_words();
    loop_remove(&peer.socket);
    if (info.si_code != CLD_EXITED || info.si_status) {
        snprintf(text, sizeof text, "-1 ended %d %d", ECHILD, info.si_status);
        tell_failed(text);
    } else if (adopt() < 0) {
        snprintf(text, sizeof text, "-1 pid-file %d %s", errno, launched->pid_file);
        tell_failed(text);
    }
}

/* Orphans of what we watch come to us, a subreaper; the process itself is left to peer_on_exit. */
void peer_reap_orphans(void)
{
    siginfo_t info;

    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || !info.si_pid)
            return;
        if (info.si_pid == peer.pid || info.si_pid == peer.child)
            return;
        waitpid(info.si_pid, NULL, WNOHANG | __WALL);
    }
}
