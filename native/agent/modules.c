/* Kernel modules from the initramfs. finit_module(2). */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The directory in the initramfs, which no path leads to once the root has changed. */
static int directory = -1;

/* Returns 0 or an errno. A module that is there already is no error. */
int module_load(const char *name)
{
    char path[128];

    if (strchr(name, '/') || strlen(name) > 64)
        return EINVAL;
    snprintf(path, sizeof path, "%s.ko", name);
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST ? errno : 0;
    close(fd);
    return error;
}

/* The modules without which the host cannot be reached, in their order. */
void modules_boot(void)
{
    char line[128];

    directory = open("/modules", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        die("/modules");
    int fd = openat(directory, "boot.list", O_RDONLY | O_CLOEXEC);
    FILE *list = fd < 0 ? NULL : fdopen(fd, "r");
    if (!list)
        die("/modules/boot.list");
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        int error = module_load(line);
        if (error) {
            errno = error;
            die(line);
        }
    }
    fclose(list);
}
