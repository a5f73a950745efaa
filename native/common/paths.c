/* Paths below a root, by descriptor: a link never leads out of the root, and nothing is looked up twice. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int open_in_root(int root, const char *path, uint64_t flags, unsigned how)
{
    struct open_how open_how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (how & IN_NO_LINKS ? RESOLVE_NO_SYMLINKS : 0),
    };
    int fd;
    /* EAGAIN: something was renamed or mounted meanwhile, so that the kernel could not be sure. */
    do
        fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &open_how, sizeof open_how);
    while (fd < 0 && errno == EAGAIN);
    return fd;
}

/* The directory that holds the last component, and that component. A path that ends in nothing to create
 * ("", "..", "a/.") is EINVAL. */
int open_parent(int root, const char *path, char *name, size_t size)
{
    char parent[PATH_MAX];
    size_t length = strlen(path);
    while (length && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start && path[start - 1] != '/')
        start--;
    if (start == length || length >= sizeof parent || length - start >= size) {
        errno = EINVAL;
        return -1;
    }
    memcpy(name, path + start, length - start);
    name[length - start] = 0;
    if (!strcmp(name, ".") || !strcmp(name, "..")) {
        errno = EINVAL;
        return -1;
    }
    memcpy(parent, path, start);
    parent[start] = 0;
    return open_in_root(root, parent, O_PATH | O_DIRECTORY, 0);
}

/* Opens the directory, making what is missing of it: mkdirat does not follow a link as last component, so
 * that a dangling one fails instead of being created through. */
int make_directories(int root, const char *path, mode_t mode)
{
    char prefix[PATH_MAX], name[NAME_MAX + 1];
    size_t length = strlen(path);

    int fd = open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (length >= sizeof prefix) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t end = 1; end <= length; end++) {
        if (path[end] && path[end] != '/')
            continue;
        memcpy(prefix, path, end);
        prefix[end] = 0;
        fd = open_in_root(root, prefix, O_PATH | O_DIRECTORY, 0);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        int parent = errno == ENOENT ? open_parent(root, prefix, name, sizeof name) : -1;
        if (parent < 0)
            return -1;
        int made = mkdirat(parent, name, mode);
        int error = errno;
        close(parent);
        if (made < 0 && error != EEXIST) {
            errno = error;
            return -1;
        }
    }
    return open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
}

/* Opens what a mount shall go onto, making it (a directory, or an empty file) if it is missing. */
int make_target(int root, const char *path, bool file, unsigned how)
{
    char name[NAME_MAX + 1], parent_path[PATH_MAX];
    int fd = open_in_root(root, path, O_PATH, how);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (!file) {
        fd = make_directories(root, path, 0755);
        if (fd >= 0)
            close(fd);
        return fd < 0 ? -1 : open_in_root(root, path, O_PATH, how);
    }
    const char *slash = strrchr(path, '/');
    if (slash && slash > path) {
        snprintf(parent_path, sizeof parent_path, "%.*s", (int)(slash - path), path);
        fd = make_directories(root, parent_path, 0755);
        if (fd < 0)
            return -1;
        close(fd);
    }
    int parent = open_parent(root, path, name, sizeof name);
    if (parent < 0)
        return -1;
    fd = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
    int error = errno;
    close(parent);
    if (fd < 0 && error != EEXIST) {
        errno = error;
        return -1;
    }
    if (fd >= 0)
        close(fd);
    return open_in_root(root, path, O_PATH, how);
}

int write_whole(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        text += n;
        length -= (size_t)n;
    }
    return 0;
}
