/* Getting a peer: by executing a plan, by starting a command, or by connecting to a server. */
#define _GNU_SOURCE
#include "monitor.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHILD_PEER_FD = 3, OUT_OF_THE_WAY = 100 };

static int fail(const char *step, const char *path)
{
    char text[MAX_TEXT];

    snprintf(text, sizeof text, "-1 %s %d %s", step, errno, path);
    tell_failed(text);
    return -1;
}

static int enter_cgroups(char **files)
{
    for (; files && *files; files++) {
        int fd = open(*files, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write_all(fd, "0", 1) < 0)
            return -1;
        close(fd);
    }
    return 0;
}

static int arrange_descriptors(const struct child_stdio *stdio, int socket)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int high[4];

    for (int i = 0; i < 4; i++) {
        int from = i == CHILD_PEER_FD ? socket : stdio->fds[i] < 0 ? null : stdio->fds[i];
        high[i] = fcntl(from, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        if (high[i] < 0)
            return -1;
    }
    for (int i = 0; i < 4; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    return (int)syscall(SYS_close_range, CHILD_PEER_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void run_command(const struct launch *launch, const struct child_stdio *stdio, int socket)
{
    const char *step = "setsid", *path = "";
    char *no_environment[] = {NULL};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setsid() < 0)
        goto failed;
    step = "cgroup";
    if (enter_cgroups(launch->cgroup_files) < 0)
        goto failed;
    step = "descriptors";
    if (arrange_descriptors(stdio, socket) < 0)
        goto failed;
    socket = CHILD_PEER_FD;
    step = "execve";
    path = launch->args[0];
    execve(path, launch->args, launch->env ? launch->env : no_environment);
failed:
    send_text(socket, "error -1 %s %d %s", step, errno, path);
    _exit(127);
}

static int start_command(const struct launch *launch, struct child_stdio *stdio)
{
    int ends[2];

    if (launch->console_socket && console_listen(launch->console_socket) < 0)
        return fail("console-socket", launch->console_socket);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail("socketpair", "");
    pid_t pid = fork();
    if (pid == 0)
        run_command(launch, stdio, ends[1]);
    close(ends[1]);
    if (pid < 0)
        return fail("fork", "");
    peer.child = pid;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || loop_add(&peer.process, fd, EPOLLIN, launch->pid_file ? peer_on_command_exit : peer_on_exit) < 0 ||
        loop_add(&peer.socket, ends[0], EPOLLIN, peer_on_packet) < 0)
        return fail("pidfd_open", "");
    return 0;
}

static int start_connection(const struct launch *launch, struct child_stdio *stdio)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    errno = ENAMETOOLONG;
    if (fd < 0 || strlen(launch->socket) >= sizeof address.sun_path)
        return fail("socket", launch->socket);
    strcpy(address.sun_path, launch->socket);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return fail("connect", launch->socket);
    if (send_descriptors(fd, launch->request ? launch->request : "", stdio->fds, stdio->fds[0] < 0 ? 0 : 3) < 0)
        return fail("send", launch->socket);
    return loop_add(&peer.socket, fd, EPOLLIN, peer_on_packet);
}

static int fail_plan(const struct plan_error *error)
{
    char text[MAX_TEXT];

    snprintf(text, sizeof text, "%d %s %d %s", error->index, error->step, error->error, error->path);
    tell_failed(text);
    return -1;
}

/* The new process is our child, and the other end of the socket is in its hands alone. */
static int start_plan(const struct launch *launch, struct child_stdio *stdio)
{
    struct plan_inputs inputs = {.listener = -1};
    struct plan_error error;
    struct plan *plan;
    int ends[2], pidfd;

    memcpy(inputs.stdio, stdio->fds, sizeof inputs.stdio);
    if (plan_load(&plan, (int)launch->plan, &error) < 0)
        return fail_plan(&error);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail("socketpair", "");
    inputs.peer = ends[1];
    peer.pid = peer.child = plan_start(plan, &inputs, &pidfd, &error);
    plan_free(plan);
    close(ends[1]);
    if (loop_add(&peer.socket, ends[0], EPOLLIN, peer_on_packet) < 0)
        return fail("epoll_ctl", "");
    if (peer.pid < 0) {
        peer_read_last_words();
        return fail_plan(&error);
    }
    return loop_add(&peer.process, pidfd, EPOLLIN, peer_on_exit) < 0 ? fail("epoll_ctl", "") : 0;
}

/* On failure everyone has been told. */
int peer_start(const struct launch *launch, struct child_stdio *stdio)
{
    switch (launch->mode) {
    case MODE_COMMAND:
        return start_command(launch, stdio);
    case MODE_CONNECT:
        return start_connection(launch, stdio);
    default:
        return start_plan(launch, stdio);
    }
}
