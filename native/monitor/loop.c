/* The event loop. epoll(7) */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

static int epoll_fd = -1;
static sigset_t while_waiting;

/* SIGCHLD is let through only while waiting, so that none is missed between a check and the wait. */
int loop_open(void)
{
    sigset_t children;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, &while_waiting);
    sigdelset(&while_waiting, SIGCHLD);
    return 0;
}

static int epoll(void)
{
    if (epoll_fd < 0)
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return epoll_fd;
}

int loop_add(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t))
{
    source->fd = fd;
    source->events = 0;
    source->ready = ready;
    return loop_want(source, events);
}

/* No events means none at all: epoll would go on reporting the end of a pipe that is not to be read yet. */
int loop_want(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (source->fd < 0 || source->events == events)
        return 0;
    int operation = !source->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    source->events = events;
    return epoll_ctl(epoll(), operation, source->fd, &event);
}

void loop_remove(struct source *source)
{
    if (source->fd < 0)
        return;
    loop_want(source, 0);
    close(source->fd);
    source->fd = -1;
}

/* One event at a time: a handler may remove any source, also one that is ready now. */
int loop_once(void)
{
    struct epoll_event event;
    int n = epoll_pwait(epoll(), &event, 1, -1, &while_waiting);

    if (n < 0)
        return errno == EINTR ? 0 : -1;
    if (n == 1) {
        struct source *source = event.data.ptr;
        source->ready(source, event.events);
    }
    return 0;
}
