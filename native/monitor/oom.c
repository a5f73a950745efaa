/* Noticing that the kernel killed for want of memory: cgroup v1 (eventfd) and v2 (inotify). cgroups(7) */
#define _GNU_SOURCE
#include "monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

static struct source notice = {.fd = -1};
static char *counter_path;
static unsigned long long count_before;
static bool seen;

/* The line "oom_kill N" of memory.events (v2) or memory.oom_control (v1). */
static unsigned long long kills(void)
{
    char text[1024], *found;

    if (!counter_path || read_file(AT_FDCWD, counter_path, text, sizeof text) < 0)
        return 0;
    found = strstr(text, "oom_kill ");
    return found ? strtoull(found + strlen("oom_kill "), NULL, 10) : 0;
}

bool oom_happened(void)
{
    if (!seen && kills() > count_before) {
        seen = true;
        tell_oom();
    }
    return seen;
}

static void notice_ready(struct source *source, uint32_t events)
{
    char drained[4096];

    (void)events;
    if (read(source->fd, drained, sizeof drained) <= 0)
        loop_remove(source);
    oom_happened();
}

/* v1: an eventfd, announced as "EVENTFD FD_OF_OOM_CONTROL" in cgroup.event_control. */
static int watch_v1(const char *directory)
{
    char path[MAX_TEXT], line[32];
    int result = -1, fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    snprintf(path, sizeof path, "%s/cgroup.event_control", directory);
    int watched = open(counter_path, O_RDONLY | O_CLOEXEC);
    int control = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && watched >= 0 && control >= 0) {
        int size = snprintf(line, sizeof line, "%d %d", fd, watched);
        result = write_all(control, line, (size_t)size);
    }
    if (control >= 0)
        close(control);
    if (watched >= 0)
        close(watched);
    if (result == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int watch_v2(void)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (fd >= 0 && inotify_add_watch(fd, counter_path, IN_MODIFY) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* PATH is a v2 memory.events file, or the directory of a v1 memory cgroup. Without it nothing is noticed. */
void oom_watch(const char *path)
{
    static const char events[] = "memory.events";
    size_t size = path ? strlen(path) : 0;
    bool v2 = size >= sizeof events && !strcmp(path + size - (sizeof events - 1), events);

    if (!path || asprintf(&counter_path, "%s%s", path, v2 ? "" : "/memory.oom_control") < 0)
        return;
    count_before = kills();
    int fd = v2 ? watch_v2() : watch_v1(path);
    if (fd >= 0)
        loop_add(&notice, fd, EPOLLIN, notice_ready);
}
