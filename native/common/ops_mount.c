/* Operations on mounts, through descriptors: fsopen(2), fsmount(2), open_tree(2), move_mount(2),
 * mount_setattr(2), pivot_root(2). */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { TREE_RECURSIVE = 1, ATTACH_NO_LINKS = 1, NULL_MAJOR = 1, NULL_MINOR = 3 };

static int sys_open_tree(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int sys_attach(int mount, int target)
{
    return (int)syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int sys_setattr(int fd, struct mount_attr *attributes, unsigned flags)
{
    return (int)syscall(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, attributes, sizeof *attributes);
}

/* The kernel says in the context's log what it disliked; that is the best explanation there is. */
static int fail_context(struct run *run, int context, const char *step, const char *what)
{
    char text[256], message[512];
    int error = errno;
    ssize_t n = read(context, text, sizeof text - 1);
    if (n > 2) {
        text[n] = 0;
        text[strcspn(text, "\n")] = 0;
        snprintf(message, sizeof message, "%s: %s", what, text + 2);
        return fail_with(run, error, step, message);
    }
    return fail_with(run, error, step, what);
}

static int configure(struct run *run, int context, const char *option, const char *what)
{
    char key[64];
    const char *equals = strchr(option, '=');
    size_t length = equals ? (size_t)(equals - option) : strlen(option);
    if (length >= sizeof key)
        return fail_with(run, EINVAL, "fsconfig", option);
    memcpy(key, option, length);
    key[length] = 0;
    int result = equals ? (int)syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, equals + 1, 0)
                        : (int)syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, key, NULL, 0);
    return result < 0 ? fail_context(run, context, "fsconfig", what) : 0;
}

static int make_mount(struct run *run, int context, uint64_t attributes, const char *what)
{
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_context(run, context, "fsconfig-create", what);
    int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    return mount < 0 ? fail_context(run, context, "fsmount", what) : mount;
}

static int new_filesystem(struct run *run, const char *type, const char *source, const char **options,
                          uint64_t attributes)
{
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return fail(run, "fsopen", type);
    int result = 0;
    if (*source && syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", source, 0) < 0)
        result = fail_context(run, context, "fsconfig-source", type);
    for (; !result && *options; options++)
        result = configure(run, context, *options, type);
    if (!result)
        result = make_mount(run, context, attributes, type);
    close(context);
    return result;
}

/* slot, type, source, options, attributes */
int op_filesystem(struct run *run, const struct operation *op)
{
    int mount = new_filesystem(run, op->args[1].string, op->args[2].string, op->args[3].list, op->args[4].number);
    return mount < 0 ? -1 : slot_set(run, &op->args[0], mount);
}

/* Kernels before 6.5 take the layers only as one string, and the new interface only 255 bytes of that: the
 * old call mounts it on a scratch directory of this mount namespace, from which it is picked up. */
static int old_overlay(struct run *run, const struct operation *op)
{
    const char *scratch = op->args[4].string;
    char data[4096];
    int length = snprintf(data, sizeof data, "lowerdir=");
    for (const char **lower = op->args[1].list; *lower && length < (int)sizeof data; lower++)
        length += snprintf(data + length, sizeof data - (size_t)length, "%s%s", lower == op->args[1].list ? "" : ":", *lower);
    if (*op->args[2].string && length < (int)sizeof data)
        length += snprintf(data + length, sizeof data - (size_t)length, ",upperdir=%s,workdir=%s", op->args[2].string,
                           op->args[3].string);
    for (const char **option = op->args[5].list; *option && length < (int)sizeof data; option++)
        length += snprintf(data + length, sizeof data - (size_t)length, ",%s", *option);
    if (length >= (int)sizeof data)
        return fail_with(run, E2BIG, "mount", "overlay: too many layers for this kernel");
    if (mount("overlay", scratch, "overlay", 0, data) < 0)
        return fail(run, "mount", scratch);
    int tree = sys_open_tree(AT_FDCWD, scratch, 0);
    int error = errno;
    umount2(scratch, MNT_DETACH);
    if (tree < 0)
        return fail_with(run, error, "open_tree", scratch);
    struct mount_attr attributes = {.attr_set = op->args[6].number};
    if (attributes.attr_set && sys_setattr(tree, &attributes, 0) < 0) {
        fail(run, "mount_setattr", scratch);
        close(tree);
        return -1;
    }
    return tree;
}

static int set_option(struct run *run, int context, const char *key, const char *value)
{
    return syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) < 0
               ? fail_context(run, context, "fsconfig", key) : 0;
}

/* slot, lower directories (uppermost first), upper, work, scratch directory, options, attributes */
int op_overlay(struct run *run, const struct operation *op)
{
    bool old = false;
    int result = 0, context = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (context < 0)
        return fail(run, "fsopen", "overlay");
    if (set_option(run, context, "source", "overlay"))
        result = -1;
    for (const char **lower = op->args[1].list; !result && *lower; lower++) {
        result = set_option(run, context, "lowerdir+", *lower);
        old = result && lower == op->args[1].list && run->error.error == EINVAL;
    }
    if (!result && *op->args[2].string) {
        result = set_option(run, context, "upperdir", op->args[2].string);
        if (!result)
            result = set_option(run, context, "workdir", op->args[3].string);
    }
    for (const char **option = op->args[5].list; !result && *option; option++)
        result = configure(run, context, *option, "overlay");
    if (!result) {
        result = make_mount(run, context, op->args[6].number, "overlay");
        /* Before 6.5 every option is taken, and what is unknown refused only here. */
        old = result < 0 && run->error.error == EINVAL;
    }
    close(context);
    if (old && *op->args[4].string)
        result = old_overlay(run, op);
    return result < 0 ? -1 : slot_set(run, &op->args[0], result);
}

/* slot, base, path, flags */
int op_tree(struct run *run, const struct operation *op)
{
    const char *path = op->args[2].string;
    unsigned flags = op->args[3].number & TREE_RECURSIVE ? AT_RECURSIVE : 0;
    int tree;

    if (op->args[1].number == PLAN_NO_SLOT) {
        tree = sys_open_tree(AT_FDCWD, path, flags);
    } else {
        int fd = open_in_root(slot_fd(run, &op->args[1]), path, O_PATH, 0);
        if (fd < 0)
            return fail(run, "openat2", path);
        tree = sys_open_tree(fd, "", flags);
        close(fd);
    }
    return tree < 0 ? fail(run, "open_tree", path) : slot_set(run, &op->args[0], tree);
}

/* mount, attributes to set, to clear, propagation, recursive, user namespace */
int op_setattr(struct run *run, const struct operation *op)
{
    struct mount_attr attributes = {
        .attr_set = op->args[1].number,
        .attr_clr = op->args[2].number,
        .propagation = op->args[3].number,
    };
    if (op->args[5].number != PLAN_NO_SLOT)
        attributes.userns_fd = (uint64_t)slot_fd(run, &op->args[5]);
    unsigned flags = op->args[4].number ? AT_RECURSIVE : 0;
    return sys_setattr(slot_fd(run, &op->args[0]), &attributes, flags) < 0 ? fail(run, "mount_setattr", "") : 0;
}

/* mount, root, target, flags */
int op_attach(struct run *run, const struct operation *op)
{
    int target, mount = slot_fd(run, &op->args[0]);
    const char *path = op->args[2].string;
    struct stat status;

    if (op->args[1].number == PLAN_NO_SLOT) {
        target = open(path, O_PATH | O_CLOEXEC);
    } else {
        if (fstat(mount, &status) < 0)
            return fail(run, "fstat", path);
        unsigned how = op->args[3].number & ATTACH_NO_LINKS ? IN_NO_LINKS : 0;
        target = make_target(slot_fd(run, &op->args[1]), path, !S_ISDIR(status.st_mode), how);
    }
    if (target < 0)
        return fail(run, "mount-target", path);
    int result = sys_attach(mount, target) < 0 ? fail(run, "move_mount", path) : 0;
    close(target);
    return result;
}

/* What becomes the root. The old root ends on top of the new one and is taken away, as a slave so that the
 * host does not see that. pivot_root(2), "pivot_root(".", ".")". */
int op_pivot(struct run *run, const struct operation *op)
{
    int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(run, "open", "/");
    if (fchdir(slot_fd(run, &op->args[0])) < 0)
        return fail(run, "fchdir", "new root");
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return fail(run, "pivot_root", "");
    if (fchdir(old) < 0)
        return fail(run, "fchdir", "old root");
    close(old);
    if (mount("", ".", "", MS_SLAVE | MS_REC, NULL) < 0)
        return fail(run, "mount-slave", "old root");
    if (umount2(".", MNT_DETACH) < 0)
        return fail(run, "umount", "old root");
    return chdir("/") < 0 ? fail(run, "chdir", "/") : 0;
}

/* Where the root cannot be pivoted (it is a ramfs): the new one is moved over it. */
int op_switch_root(struct run *run, const struct operation *op)
{
    if (fchdir(slot_fd(run, &op->args[0])) < 0)
        return fail(run, "fchdir", "new root");
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        return fail(run, "mount-move", "/");
    if (chroot(".") < 0)
        return fail(run, "chroot", "");
    return chdir("/") < 0 ? fail(run, "chdir", "/") : 0;
}

/* Without a mount namespace of its own, the process just cannot see beyond its root. */
int op_chroot(struct run *run, const struct operation *op)
{
    if (fchdir(slot_fd(run, &op->args[0])) < 0)
        return fail(run, "fchdir", "new root");
    if (chroot(".") < 0)
        return fail(run, "chroot", "");
    return chdir("/") < 0 ? fail(run, "chdir", "/") : 0;
}

/* flags of mount(2) for / and all below */
int op_propagation(struct run *run, const struct operation *op)
{
    return mount(NULL, "/", NULL, op->args[0].number, NULL) < 0 ? fail(run, "mount-propagation", "/") : 0;
}

/* root, path, mode with type, device number, uid, gid */
int op_mknod(struct run *run, const struct operation *op)
{
    char name[256];
    const char *path = op->args[1].string;
    uint64_t device = op->args[3].number;
    int parent = open_parent(slot_fd(run, &op->args[0]), path, name, sizeof name);
    if (parent < 0)
        return fail(run, "mknod", path);
    int result = 0;
    mode_t before = umask(0);
    if (mknodat(parent, name, (mode_t)op->args[2].number, makedev((unsigned)(device >> 32), (unsigned)device)) < 0 &&
        errno != EEXIST)
        result = fail(run, "mknod", path);
    umask(before);
    if (!result && fchownat(parent, name, (uid_t)op->args[4].number, (gid_t)op->args[5].number, AT_SYMLINK_NOFOLLOW) < 0)
        result = fail(run, "chown", path);
    close(parent);
    return result;
}

/* root, path, target of the link */
int op_symlink(struct run *run, const struct operation *op)
{
    char name[256];
    const char *path = op->args[1].string;
    int parent = open_parent(slot_fd(run, &op->args[0]), path, name, sizeof name);
    if (parent < 0)
        return fail(run, "symlink", path);
    int result = symlinkat(op->args[2].string, parent, name) < 0 && errno != EEXIST ? fail(run, "symlink", path) : 0;
    close(parent);
    return result;
}

static int empty_directory(struct run *run)
{
    static const char *const options[] = {"size=0", "nr_inodes=2", "mode=0555", NULL};
    return new_filesystem(run, "tmpfs", "tmpfs", (const char **)options,
                          MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* The image may have put anything at /dev/null: what is used must be the null device itself. */
static int null_device(struct run *run, int root)
{
    struct stat status;
    int fd = open_in_root(root, "dev/null", O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return fail(run, "openat2", "/dev/null");
    int tree = -1;
    if (fstat(fd, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(NULL_MAJOR, NULL_MINOR))
        fail_with(run, ENODEV, "null-device", "/dev/null");
    else if ((tree = sys_open_tree(fd, "", 0)) < 0)
        fail(run, "open_tree", "/dev/null");
    close(fd);
    return tree;
}

/* root, path: hides a file behind the null device, a directory behind an empty one; a missing one is fine */
int op_mask(struct run *run, const struct operation *op)
{
    struct stat status;
    int root = slot_fd(run, &op->args[0]);
    const char *path = op->args[1].string;
    int target = open_in_root(root, path, O_PATH, 0);
    if (target < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(run, "openat2", path);
    int result = -1, cover = -1;
    if (fstat(target, &status) < 0)
        fail(run, "fstat", path);
    else
        cover = S_ISDIR(status.st_mode) ? empty_directory(run) : null_device(run, root);
    if (cover >= 0) {
        result = sys_attach(cover, target) < 0 ? fail(run, "move_mount", path) : 0;
        close(cover);
    }
    close(target);
    return result;
}

/* root, path: mounts it over itself, read-only; a missing one is fine */
int op_readonly(struct run *run, const struct operation *op)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    const char *path = op->args[1].string;
    int target = open_in_root(slot_fd(run, &op->args[0]), path, O_PATH, 0);
    if (target < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(run, "openat2", path);
    int result = 0, tree = sys_open_tree(target, "", AT_RECURSIVE);
    if (tree < 0)
        result = fail(run, "open_tree", path);
    else if (sys_setattr(tree, &attributes, AT_RECURSIVE) < 0)
        result = fail(run, "mount_setattr", path);
    else if (sys_attach(tree, target) < 0)
        result = fail(run, "move_mount", path);
    if (tree >= 0)
        close(tree);
    close(target);
    return result;
}
