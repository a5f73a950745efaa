/* The guest's first process: mounts what it needs, loads the modules for its channel, serves the host. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VSOCK_AGENT = 1024, VSOCK_SHARE = 1025 };

static int epoll_fd = -1;

void die(const char *what)
{
    /* The console is the only one left to tell; the host sees the machine end. */
    dprintf(2, "trimaran-agent: %s: %s\n", what, strerror(errno));
    sync();
    reboot(RB_AUTOBOOT);
    _exit(1);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (!memory)
        die("out of memory");
    return memory;
}

void watch(int fd, struct watched *watched, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watched};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

void watch_change(int fd, struct watched *watched, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watched};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        die("epoll_ctl");
}

void unwatch(int fd)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Makes a tmpfs the root. A container's plan ends in pivot_root(2), which the initial ramfs refuses. */
static void leave_ramfs(void)
{
    if (mount("tmpfs", "/mnt", "tmpfs", MS_NOSUID, "mode=755") < 0 || chdir("/mnt") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        die("change of root");
}

static void mount_basics(void)
{
    static const struct {
        const char *type, *target, *options;
        unsigned long flags;
    } mounts[] = {
        {"devtmpfs", "/dev", "mode=755", MS_NOSUID},
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV},
        {"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=620", MS_NOSUID | MS_NOEXEC},
    };

    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        mkdir(mounts[i].target, 0755);
        if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options) < 0)
            die(mounts[i].target);
    }
}

static void signal_ready(struct watched *self, uint32_t events);
static struct watched signals = {signal_ready};
static int signal_descriptor = -1;

static void signal_ready(struct watched *self, uint32_t events)
{
    struct signalfd_siginfo info;

    (void)self;
    (void)events;
    while (read(signal_descriptor, &info, sizeof info) > 0)
        ;
    processes_reap();
}

static void watch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal_descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_descriptor < 0)
        die("signalfd");
    watch(signal_descriptor, &signals, EPOLLIN);
}

static void serve(const char *port, unsigned vsock_port) __attribute__((noreturn));
static void serve(const char *port, unsigned vsock_port)
{
    struct epoll_event events[1];
    uint32_t version = PROTOCOL_VERSION;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    watch_signals();
    link_open(port, vsock_port);
    link_send(FRAME_READY, 0, &version, sizeof version);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 1, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        /* One event at a time: a handler may free what a later event of the same batch points to. */
        if (n > 0) {
            struct watched *watched = events[0].data.ptr;
            watched->ready(watched, events[0].events);
        }
    }
}

static void raise_limits(void)
{
    struct rlimit files = {1 << 20, 1 << 20};

    /* Containers inherit it where their plan states none; a guest has no one else to share with. */
    setrlimit(RLIMIT_NOFILE, &files);
}

/* Another process relays file systems that the host serves: this one may wait for such a file itself. */
static void fork_relay(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid)
        return;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) < 0)
        die("oom_score_adj");
    close(fd);
    serve("trimaran.share", VSOCK_SHARE);
}

int main(void)
{
    if (getpid() != 1) {
        dprintf(2, "trimaran-agent runs as the first process of a microVM only\n");
        return 1;
    }
    umask(0);
    modules_boot();
    leave_ramfs();
    mount_basics();
    raise_limits();
    fork_relay();
    serve("trimaran.agent", VSOCK_AGENT);
}
