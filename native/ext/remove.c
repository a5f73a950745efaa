/* Removing a directory tree, by descriptors: links are never followed, mounts never entered. */
#define _GNU_SOURCE
#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUFFER = 8 * 1024, DEPTH = 32, PASSES = 1 << 20 };

struct remover {
    int top;                     /* the tree's own directory, where what is too deep is moved to */
    unsigned moved;
};

/* The kernel's record of getdents64(2). */
struct entry {
    ino64_t inode;
    off64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static int open_directory(int fd, const char *name, unsigned long long flags)
{
    struct open_how how = {
        .flags = flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    int below = (int)syscall(SYS_openat2, fd, name, &how, sizeof how);

    if (below < 0 && errno == EXDEV)
        errno = EBUSY;
    return below;
}

/* An ordinary user's own directory may shut him out by its mode. */
static void let_in(int fd, const char *name)
{
    char path[64];
    int below = open_directory(fd, name, O_PATH);

    if (below < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", below);
    (void)!chmod(path, 0700);
    close(below);
}

static int open_below(int fd, const char *name)
{
    if (geteuid())
        let_in(fd, name);
    return open_directory(fd, name, O_RDONLY);
}

static int move_up(struct remover *remover, int fd, const char *name)
{
    char moved[32];
    int result;

    do {
        snprintf(moved, sizeof moved, ".removed-%u", remover->moved++);
        result = renameat2(fd, name, remover->top, moved, RENAME_NOREPLACE);
    } while (result && errno == EEXIST);
    return result;
}

static int empty_once(struct remover *remover, int fd, unsigned depth);

/* A file system may skip entries while others are being removed, and deep ones come up: until none is left. */
static int empty_and_remove(struct remover *remover, int fd, const char *name, int below, unsigned depth)
{
    for (int pass = 0; pass < PASSES; pass++) {
        if (empty_once(remover, below, depth + 1))
            return -1;
        if (!unlinkat(fd, name, AT_REMOVEDIR))
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
    }
    return -1;
}

static int remove_directory(struct remover *remover, int fd, const char *name, unsigned depth)
{
    if (!unlinkat(fd, name, AT_REMOVEDIR))
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -1;
    if (depth >= DEPTH)
        return move_up(remover, fd, name);
    int below = open_below(fd, name);
    if (below < 0)
        return -1;
    struct remover own = {.top = below};
    int result = empty_and_remove(depth ? remover : &own, fd, name, below, depth);
    int error = errno;
    close(below);
    errno = error;
    return result;
}

static int remove_entry(struct remover *remover, int fd, const struct entry *entry, unsigned depth)
{
    if (entry->type != DT_DIR) {
        if (!unlinkat(fd, entry->name, 0) || errno == ENOENT)
            return 0;
        if (errno != EISDIR)
            return -1;
    }
    int result = remove_directory(remover, fd, entry->name, depth);
    return result && errno == ENOENT ? 0 : result;
}

static int empty_once(struct remover *remover, int fd, unsigned depth)
{
    _Alignas(struct entry) char buffer[BUFFER];
    long size;

    if (lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    while ((size = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(buffer + at);
            at += entry->size;
            if (strcmp(entry->name, ".") && strcmp(entry->name, "..") &&
                remove_entry(remover, fd, entry, depth))
                return -1;
        }
    return size < 0 ? -1 : 0;
}

int remove_tree(int fd, const char *name)
{
    struct remover none = {.top = -1};

    if (!unlinkat(fd, name, 0))
        return 0;
    return errno == EISDIR ? remove_directory(&none, fd, name, 0) : -1;
}
