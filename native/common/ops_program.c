/* Operations on the program that the process becomes: finding it, waiting for `start`, executing it. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool executable(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return false;
    if (S_ISDIR(status.st_mode)) {
        errno = EACCES;
        return false;
    }
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* program, PATH: what execvp would execute. A program that may not be executed beats none (execvp(3)). */
int op_lookup(struct run *run, const struct operation *op)
{
    static char found[PATH_MAX];
    const char *name = op->args[0].string, *at = op->args[1].string;
    int error = ENOENT;

    if (strchr(name, '/')) {
        run->program = name;
        return executable(name) ? 0 : fail(run, "execve", name);
    }
    while (*name && at) {
        const char *colon = strchr(at, ':');
        size_t length = colon ? (size_t)(colon - at) : strlen(at);
        if (snprintf(found, sizeof found, "%.*s/%s", length ? (int)length : 1, length ? at : ".", name) < (int)sizeof found) {
            if (executable(found)) {
                run->program = found;
                return 0;
            }
            if (errno == EACCES)
                error = EACCES;
        }
        at = colon ? colon + 1 : NULL;
    }
    return fail_with(run, error, "execve", name);
}

/* A process that waits needs next to nothing of its program: what is mapped of it is given back, and the
 * little that is touched later is mapped again. */
static void release_text(void)
{
    extern const char __executable_start, etext;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)&__executable_start & -page, end = ((uintptr_t)&etext + page - 1) & -page;
    madvise((void *)start, end - start, MADV_DONTNEED);
}

/* The next message of whoever may say `start`; a listener's connection that ends without it is replaced. */
static ssize_t next_message(struct run *run, char *text, size_t size)
{
    for (;;) {
        if (run->inputs.peer < 0) {
            run->inputs.peer = accept4(run->inputs.listener, NULL, NULL, SOCK_CLOEXEC);
            if (run->inputs.peer < 0 && errno != EINTR && errno != ECONNABORTED)
                return fail(run, "accept", "");
            continue;
        }
        ssize_t n = recv(run->inputs.peer, text, size, 0);
        if (n > 0)
            return n;
        if (n < 0 && errno == EINTR)
            continue;
        if (run->inputs.listener < 0)
            _exit(1); /* whoever watched us is gone */
        close(run->inputs.peer);
        run->inputs.peer = -1;
    }
}

/* What must be done before a filter that may forbid it is loaded. */
static int seal(struct run *run)
{
    enum { CLOEXEC = 1U << 2 };
    umask(run->umask);
    return syscall(SYS_close_range, 3 + run->inputs.preserve, ~0U, CLOEXEC) < 0 ? fail(run, "close_range", "") : 0;
}

/* From here on `start` may come: from the peer, or from whoever connects to the listener. The connection
 * closes when the program is executed, which tells the other side so. */
int op_ready(struct run *run, const struct operation *op)
{
    char text[8];
    (void)op;
    if (send(run->inputs.peer, "ready 0", 7, MSG_NOSIGNAL) < 0)
        return fail(run, "send", "ready");
    if (run->inputs.listener >= 0) {
        close(run->inputs.peer);
        run->inputs.peer = -1;
    }
    if (run->inputs.peer < 0 || recv(run->inputs.peer, text, sizeof text, MSG_DONTWAIT | MSG_PEEK) < 0)
        release_text();
    for (;;) {
        ssize_t n = next_message(run, text, sizeof text);
        if (n < 0)
            return -1;
        if (n == 5 && !memcmp(text, "start", 5))
            return seal(run);
    }
}

/* uid: HOME is what the container's /etc/passwd says, or / (as runc does) */
int op_home(struct run *run, const struct operation *op)
{
    static char home[PATH_MAX + 8] = "HOME=/";
    char line[4096];
    struct stat status;

    run->home = home;
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return 0;
    FILE *file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size < 1 << 20 ? fdopen(fd, "re") : NULL;
    if (!file) {
        close(fd);
        return 0;
    }
    while (fgets(line, sizeof line, file)) {
        char *field[6], *rest = line;
        int fields = 0;
        while (fields < 6 && (field[fields] = strsep(&rest, ":")))
            fields++;
        if (fields < 6 || !*field[2] || strtoull(field[2], NULL, 10) != op->args[0].number)
            continue;
        if (*field[5] == '/')
            snprintf(home, sizeof home, "HOME=%s", field[5]);
        break;
    }
    fclose(file);
    return 0;
}

/* arguments, environment */
int op_execve(struct run *run, const struct operation *op)
{
    char **argv = (char **)op->args[0].list;
    size_t count = op->args[1].number;
    const char **environment = calloc(count + 2, sizeof *environment);
    const char *program = run->program ? run->program : argv[0];

    if (!environment)
        return fail(run, "calloc", "environment");
    memcpy(environment, op->args[1].list, count * sizeof *environment);
    environment[count] = run->home;
    execve(program, argv, (char **)environment);
    fail(run, "execve", program);
    free(environment);
    return -1;
}
