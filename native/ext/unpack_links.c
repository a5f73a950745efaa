#define _GNU_SOURCE
#include "unpack.h"

#include "tar_pax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int add_late_link(struct unpacker *u, const char *name, const char *target)
{
    char clean[PATH_MAX];
    struct stat status;

    if (dirs_clean(u, target, clean))
        return -1;
    /* What has the name now goes already, so that what has it in the end has come later. */
    if (!fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW) && dirs_remove(u, name, &status))
        return -1;
    if (!tar_grow(&u->links, &u->link_capacity, u->link_count, sizeof *u->links))
        return unpack_fail(u, ENOMEM, "malloc");
    struct late_link link = {unpack_path_of(u, name), strdup(clean)};
    u->links[u->link_count++] = link;
    return link.path && link.target ? 0 : unpack_fail(u, ENOMEM, "malloc");
}

/* A hard link's target. FD is its directory, or -1 if this layer does not have it; PATH is where it would be. */
struct target {
    int fd;
    const char *name;
    struct stat status;
    char path[2 * PATH_MAX + NAME_MAX];
};

static int find_target(struct unpacker *u, const char *path, struct target *target)
{
    char above[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;

    target->fd = -1;
    target->name = slash ? slash + 1 : path;
    memcpy(above, path, size);
    above[size] = '\0';
    if (dirs_walk(u, above, WALK_ONLY, NULL) < 0) {
        if (u->fault.number != ENOENT)
            return -1;
        u->fault = (struct fault){0};
        snprintf(target->path, sizeof target->path, "%s/%s", u->dirs.missing, target->name);
        return 0;
    }
    snprintf(target->path, sizeof target->path, "%s/%s", u->dirs.path, target->name);
    if (fstatat(dirs_top(u), target->name, &target->status, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : unpack_fail(u, errno, "fstatat");
    /* What only this layer's whiteouts have led to is not in this layer. */
    if (S_ISDIR(target->status.st_mode) && table_is_implicit(u, target->status.st_ino))
        return 0;
    if (S_ISDIR(target->status.st_mode) || unpack_is_whiteout(&target->status))
        return unpack_fail(u, 0, "a hard link to what is not a file of the layer");
    target->fd = openat(dirs_top(u), ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return target->fd < 0 ? unpack_fail(u, errno, "openat") : 0;
}

static int link_to(struct unpacker *u, const struct target *target, const char *name)
{
    struct stat status;

    if (!linkat(target->fd, target->name, dirs_top(u), name, 0))
        return 0;
    if (errno != EEXIST)
        return unpack_fail(u, errno, "linkat");
    if (fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW))
        return unpack_fail(u, errno, "fstatat");
    if (status.st_ino == target->status.st_ino && status.st_dev == target->status.st_dev)
        return 0;
    if (dirs_remove(u, name, &status))
        return -1;
    return linkat(target->fd, target->name, dirs_top(u), name, 0) ? unpack_fail(u, errno, "linkat") : 0;
}

int unpack_hard_link(struct unpacker *u, const struct tar_entry *entry)
{
    char path[PATH_MAX];
    struct target target;
    struct place place;

    if (dirs_clean(u, entry->link, path) || find_target(u, path, &target))
        return -1;
    int result = unpack_find_place(u, entry, WALK_MAKE, &place);
    if (!result)
        result = target.fd < 0 ? add_late_link(u, place.name, target.path) : link_to(u, &target, place.name);
    if (target.fd >= 0)
        close(target.fd);
    return result;
}
