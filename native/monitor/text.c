/* Packets of text with descriptors (unix(7)), and small files. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 8 };

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
};

int send_text(int fd, const char *format, ...)
{
    char text[MAX_TEXT];
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof text)
        size = sizeof text - 1;
    return send(fd, text, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

int send_descriptors(int fd, const char *text, const int *fds, size_t count)
{
    union control control = {0};
    struct iovec data = {.iov_base = (char *)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

    if (count && count <= MAX_DESCRIPTORS) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* The first descriptor goes to *passed (-1 if there is none, or nobody wants it), further ones are closed. */
static void take_descriptors(struct msghdr *message, int *passed)
{
    if (passed)
        *passed = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (passed && *passed < 0)
                *passed = fd;
            else
                close(fd);
        }
    }
}

/* One packet, ended with NUL in the buffer. 0 at the end; a packet that does not fit is EMSGSIZE. */
ssize_t receive(int fd, char *buffer, size_t size, int *passed)
{
    union control control;
    struct iovec data = {.iov_base = buffer, .iov_len = size - 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -1;
    take_descriptors(&message, passed);
    buffer[n] = 0;
    if (message.msg_flags & MSG_TRUNC) {
        errno = EMSGSIZE;
        return -1;
    }
    return n;
}

int write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Written under a temporary name and renamed, so that a reader sees all of it or nothing. */
int write_file_at(int dir, const char *name, const char *text, bool durable)
{
    char partial[64];

    snprintf(partial, sizeof partial, ".%s", name);
    int fd = openat(dir, partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    int result = write_all(fd, text, strlen(text));
    if (!result && durable)
        result = fdatasync(fd);
    close(fd);
    if (result || renameat(dir, partial, dir, name))
        return -1;
    return durable ? fsync(dir) : 0;
}

/* The whole file as text ended with NUL; NAME NULL reads the descriptor DIR itself. */
ssize_t read_file(int dir, const char *name, char *buffer, size_t size)
{
    int fd = name ? openat(dir, name, O_RDONLY | O_CLOEXEC) : dir;
    size_t total = 0;
    ssize_t n = -1;

    while (fd >= 0 && total < size - 1 && (n = pread(fd, buffer + total, size - 1 - total, (off_t)total)) > 0)
        total += (size_t)n;
    if (name && fd >= 0)
        close(fd);
    buffer[total] = 0;
    return n < 0 ? -1 : (ssize_t)total;
}
