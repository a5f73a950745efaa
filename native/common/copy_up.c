/* Filling a new file system with what the image has at its place (mount option tmpcopyup). */
#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 128 };

static int copy_directory(int from, int to, int depth);

static int copy_data(int from, int to, off_t size)
{
    while (size > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)size);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        size -= n;
    }
    return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *status)
{
    int input = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (input < 0)
        return -1;
    int output = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int result = output < 0 ? -1 : copy_data(input, output, status->st_size);
    if (output >= 0)
        close(output);
    close(input);
    return result;
}

static int copy_link(int from, int to, const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, name, target, sizeof target - 1);
    if (n < 0)
        return -1;
    target[n] = 0;
    return symlinkat(target, to, name);
}

static int copy_below(int from, int to, const char *name, int depth)
{
    int result = -1, input = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (input < 0)
        return -1;
    if (mkdirat(to, name, 0700) == 0) {
        int output = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (output >= 0) {
            result = copy_directory(input, output, depth + 1);
            close(output);
        }
    }
    close(input);
    return result;
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat status;
    int result;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    switch (status.st_mode & S_IFMT) {
    case S_IFDIR:
        result = copy_below(from, to, name, depth);
        break;
    case S_IFREG:
        result = copy_file(from, to, name, &status);
        break;
    case S_IFLNK:
        result = copy_link(from, to, name);
        break;
    default:
        result = mknodat(to, name, status.st_mode, status.st_rdev);
    }
    if (result || fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISLNK(status.st_mode) && fchmodat(to, name, status.st_mode & 07777, 0) < 0)
        return -1;
    const struct timespec times[2] = {status.st_atim, status.st_mtim};
    return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_directory(int from, int to, int depth)
{
    int result = 0, listing = depth < MAX_DEPTH ? fcntl(from, F_DUPFD_CLOEXEC, 3) : -1;
    DIR *directory = listing < 0 ? NULL : fdopendir(listing);
    if (!directory) {
        if (listing >= 0)
            close(listing);
        return -1;
    }
    for (struct dirent *entry; !result && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            result = copy_entry(from, to, entry->d_name, depth);
    closedir(directory);
    return result;
}

/* mount, root, path below the root: also the directory's own mode and owner; a missing one is empty */
int op_copy_up(struct run *run, const struct operation *op)
{
    struct stat status;
    const char *path = op->args[2].string;
    int from = open_in_root(slot_fd(run, &op->args[1]), path, O_RDONLY | O_DIRECTORY, 0);
    if (from < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(run, "openat2", path);
    int to = openat(slot_fd(run, &op->args[0]), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = -1;
    if (to >= 0 && fstat(from, &status) == 0 && copy_directory(from, to, 0) == 0 &&
        fchown(to, status.st_uid, status.st_gid) == 0)
        result = fchmod(to, status.st_mode & 07777);
    if (result)
        fail(run, "copy up", path);
    if (to >= 0)
        close(to);
    close(from);
    return result;
}
