/* The console socket of OCI runtimes: one connection, one packet, with the master of the terminal. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct source listener = {.fd = -1}, connection = {.fd = -1};

static void connection_ready(struct source *source, uint32_t events)
{
    char name[4096];
    int passed = -1;

    (void)events;
    ssize_t n = receive(source->fd, name, sizeof name, &passed);
    if (n < 0 && errno == EAGAIN)
        return;
    loop_remove(source);
    if (passed >= 0 && streams_console(passed) == 0)
        loop_remove(&listener);
}

static void listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    loop_remove(&connection);
    loop_add(&connection, fd, EPOLLIN, connection_ready);
}

/* NAME is made in the state directory. */
int console_listen(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || strlen(name) >= sizeof address.sun_path || strchr(name, '/')) {
        errno = EINVAL;
        return -1;
    }
    strcpy(address.sun_path, name);
    if (fchdir(STATE_FD) < 0)
        return -1;
    unlink(name);
    mode_t mask = umask(0177);
    int result = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (result < 0 || chdir("/") < 0 || listen(fd, 1) < 0)
        return -1;
    return loop_add(&listener, fd, EPOLLIN, listener_ready);
}
