#define _GNU_SOURCE
#include "unpack.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Attributes that mean something to the storage, or to the host's own policy: never taken from a layer. */
static const char *const REFUSED[] = {
    "trusted.overlay.",
    "user.overlay.",
    "user.fuseoverlayfs.",
    "security.fuseoverlayfs.",
    "trusted.fuseoverlayfs.",
    "user.containers.",
    "security.selinux",
    "security.apparmor",
    "security.ima",
    "security.evm",
    NULL,
};

static bool is_refused(const char *name)
{
    for (const char *const *prefix = REFUSED; *prefix; prefix++)
        if (!strncmp(name, *prefix, strlen(*prefix)))
            return true;
    return false;
}

static bool map_id(const struct id_map *map, uint64_t id, uint32_t *mapped)
{
    if (id >= UINT32_MAX)
        return false;
    *mapped = (uint32_t)id;
    if (!map->count)
        return true;
    for (size_t i = 0; i < map->count; i++) {
        const struct id_range *range = &map->ranges[i];
        if (id >= range->inside && id - range->inside < range->count) {
            *mapped = (uint32_t)(range->outside + (id - range->inside));
            return true;
        }
    }
    return false;
}

static int map_owner(struct unpacker *u, uint64_t uid, uint64_t gid, uint32_t *mapped_uid, uint32_t *mapped_gid)
{
    if (!map_id(&u->options.uids, uid, mapped_uid))
        return unpack_fail(u, 0, "its user id is outside of the id map");
    if (!map_id(&u->options.gids, gid, mapped_gid))
        return unpack_fail(u, 0, "its group id is outside of the id map");
    return 0;
}

int meta_own(struct unpacker *u, int fd, uint64_t uid, uint64_t gid)
{
    uint32_t owner, group;

    if (u->options.keep_owner)
        return 0;
    if (map_owner(u, uid, gid, &owner, &group))
        return -1;
    return fchown(fd, owner, group) ? unpack_fail(u, errno, "fchown") : 0;
}

/* The ids inside a POSIX ACL (acl(5); include/uapi/linux/posix_acl_xattr.h) are the container's: map them. */
static bool map_acl(const struct unpacker *u, uint8_t *value, size_t size)
{
    enum { HEADER = 4, ENTRY = 8, ID = 4, TAG_USER = 2, TAG_GROUP = 8 };

    for (size_t at = HEADER; at + ENTRY <= size; at += ENTRY) {
        uint16_t tag;
        uint32_t id;
        memcpy(&tag, value + at, sizeof tag);
        memcpy(&id, value + at + ID, sizeof id);
        tag = le16toh(tag);
        if (tag != TAG_USER && tag != TAG_GROUP)
            continue;
        const struct id_map *map = tag == TAG_USER ? &u->options.uids : &u->options.gids;
        if (!map_id(map, le32toh(id), &id))
            return false;
        id = htole32(id);
        memcpy(value + at + ID, &id, sizeof id);
    }
    return true;
}

/* Capabilities count in one user namespace only: name it by the host's id of its root (capabilities(7)). */
static size_t map_capability(const struct unpacker *u, uint8_t *value, size_t size)
{
    uint32_t magic, root;

    if (size != XATTR_CAPS_SZ_2 || !map_id(&u->options.uids, 0, &root))
        return size;
    memcpy(&magic, value, sizeof magic);
    magic = htole32((le32toh(magic) & ~(uint32_t)VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_3);
    root = htole32(root);
    memcpy(value, &magic, sizeof magic);
    memcpy(value + XATTR_CAPS_SZ_2, &root, sizeof root);
    return XATTR_CAPS_SZ_3;
}

static int set_one(const char *path, int fd, const char *name, const void *value, size_t size)
{
    return path ? lsetxattr(path, name, value, size, 0) : fsetxattr(fd, name, value, size, 0);
}

static int set_mapped(struct unpacker *u, const char *path, int fd, const struct tar_xattr *xattr)
{
    uint8_t value[XATTR_SIZE_MAX + XATTR_CAPS_SZ_3];
    size_t size = xattr->size;

    if (size > XATTR_SIZE_MAX) {
        errno = E2BIG;
        return -1;
    }
    memcpy(value, xattr->value, size);
    if (!strcmp(xattr->name, "security.capability")) {
        size = map_capability(u, value, size);
    } else if (!map_acl(u, value, size)) {
        errno = EINVAL;
        return -1;
    }
    return set_one(path, fd, xattr->name, value, size);
}

static bool holds_ids(const char *name)
{
    return !strcmp(name, "security.capability") || !strncmp(name, "system.posix_acl_", 17);
}

static int apply_xattrs(struct unpacker *u, const char *path, int fd, const struct tar_entry *entry)
{
    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct tar_xattr *xattr = &entry->xattrs[i];
        int result;
        if (is_refused(xattr->name))
            continue;
        if (u->options.uids.count && holds_ids(xattr->name))
            result = set_mapped(u, path, fd, xattr);
        else
            result = set_one(path, fd, xattr->name, xattr->value, xattr->size);
        if (!strcmp(xattr->name, "system.posix_acl_default"))
            u->default_acls = true;
        /* The file system or the caller's rights do not allow it: the caller is told how often. */
        if (result && (errno == ENOTSUP || errno == EPERM))
            u->dropped_xattrs++;
        else if (result)
            return unpack_fail(u, errno, "setxattr");
    }
    return 0;
}

/* What a directory above hands down by its default ACL is not in the layer. */
static void drop_inherited(struct unpacker *u, int fd)
{
    if (!u->default_acls)
        return;
    fremovexattr(fd, "system.posix_acl_access");
    fremovexattr(fd, "system.posix_acl_default");
}

int meta_forget_xattrs(struct unpacker *u, int fd)
{
    char names[XATTR_LIST_MAX];
    ssize_t size = flistxattr(fd, names, sizeof names);

    if (size < 0)
        return errno == ENOTSUP ? 0 : unpack_fail(u, errno, "flistxattr");
    for (const char *name = names; name < names + size; name += strlen(name) + 1)
        if (!is_refused(name) && fremovexattr(fd, name) && errno != ENODATA)
            return unpack_fail(u, errno, "fremovexattr");
    return 0;
}

int meta_apply(struct unpacker *u, int fd, const struct tar_entry *entry, uint32_t mode)
{
    drop_inherited(u, fd);
    if (meta_own(u, fd, entry->uid, entry->gid) || apply_xattrs(u, NULL, fd, entry))
        return -1;
    return fchmod(fd, mode) ? unpack_fail(u, errno, "fchmod") : 0;
}

void meta_times(const struct tar_entry *entry, struct timespec times[2])
{
    times[0] = (struct timespec){entry->atime.seconds, entry->atime.nanoseconds};
    times[1] = (struct timespec){entry->mtime.seconds, entry->mtime.nanoseconds};
}

/* chmod(2) of what must not be opened: by a descriptor that only names it. */
static int change_mode_at(struct unpacker *u, const char *name, uint32_t mode)
{
    char path[64];
    int fd = openat(dirs_top(u), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return unpack_fail(u, errno, "openat");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = chmod(path, mode) ? unpack_fail(u, errno, "chmod") : 0;
    close(fd);
    return result;
}

int meta_apply_at(struct unpacker *u, const char *name, const struct tar_entry *entry)
{
    char path[NAME_MAX + 64];
    struct timespec times[2];
    uint32_t owner, group;

    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dirs_top(u), name);
    if (!u->options.keep_owner) {
        if (map_owner(u, entry->uid, entry->gid, &owner, &group))
            return -1;
        if (fchownat(dirs_top(u), name, owner, group, AT_SYMLINK_NOFOLLOW))
            return unpack_fail(u, errno, "fchownat");
    }
    if (apply_xattrs(u, path, -1, entry))
        return -1;
    if (entry->type != TAR_SYMLINK && change_mode_at(u, name, entry->mode))
        return -1;
    meta_times(entry, times);
    return utimensat(dirs_top(u), name, times, AT_SYMLINK_NOFOLLOW) ? unpack_fail(u, errno, "utimensat") : 0;
}
