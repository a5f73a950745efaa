/* A log file that is turned over by size. path is the present one, path.1 the one before it, and so on. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many files more than asked for are kept for a reader that holds one of them (flock(2)). */
enum { MAX_HELD = 32 };

/* A link, or a name that something else shares, is not written to: the directory may be another's. */
int logfile_open(struct logfile *file)
{
    struct stat status;
    int fd = open(file->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0640);

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_nlink > 1) {
        close(fd);
        errno = EMLINK;
        return -1;
    }
    if (file->fd >= 0)
        close(file->fd);
    file->fd = fd;
    file->size = (uint64_t)status.st_size;
    return 0;
}

/* Returns how much was written: records (lines) that do not fit on a full disk are left out, none is torn. */
size_t logfile_append(struct logfile *file, const char *data, size_t size)
{
    size_t written = 0;

    while (file->fd >= 0 && written < size) {
        ssize_t n = write(file->fd, data + written, size - written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        written += (size_t)n;
    }
    if (written < size) {
        const char *end = memrchr(data, '\n', written);
        written = end ? (size_t)(end - data) + 1 : 0;
        if (file->fd < 0 || ftruncate(file->fd, (off_t)(file->size + written)) < 0)
            return written;
    }
    file->size += written;
    return written;
}

static void numbered(char *buffer, size_t size, const struct logfile *file, unsigned number)
{
    if (number)
        snprintf(buffer, size, "%s.%u", file->path, number);
    else
        snprintf(buffer, size, "%s", file->path);
}

/* A follower holds a shared lock on the file it has not read to the end. */
static bool held(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

/* Remove from the oldest on; what is newer than a held file is about to be read, and stays too. */
static void prune(const struct logfile *file, unsigned oldest)
{
    char path[MAX_TEXT];

    for (unsigned number = oldest; number >= file->files && number > 0; number--) {
        numbered(path, sizeof path, file, number);
        if (number < file->files + MAX_HELD && held(path))
            return;
        unlink(path);
    }
}

int logfile_rotate(struct logfile *file)
{
    char from[MAX_TEXT], to[MAX_TEXT];
    unsigned oldest = 0;

    do
        numbered(from, sizeof from, file, ++oldest);
    while (access(from, F_OK) == 0);
    for (unsigned number = oldest; number > 0; number--) {
        numbered(from, sizeof from, file, number - 1);
        numbered(to, sizeof to, file, number);
        if (rename(from, to) < 0)
            return -1;
    }
    if (logfile_open(file) < 0)
        return -1;
    prune(file, oldest);
    return 0;
}
