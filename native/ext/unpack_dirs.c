#define _GNU_SOURCE
#include "unpack.h"

#include "tar_pax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, IMPLICIT_MODE = 0755 };

int dirs_top(const struct unpacker *u)
{
    return u->dirs.depth ? u->dirs.levels[u->dirs.depth - 1].fd : u->dirs.root;
}

static size_t top_path_size(const struct dir_stack *dirs)
{
    return dirs->depth ? dirs->levels[dirs->depth - 1].path_size : 0;
}

static void truncate_to(struct dir_stack *dirs, size_t depth)
{
    while (dirs->depth > depth)
        close(dirs->levels[--dirs->depth].fd);
    dirs->path[top_path_size(dirs)] = '\0';
}

int dirs_open(struct unpacker *u, int root)
{
    struct stat status;

    u->dirs.root = openat(root, ".", DIRECTORY);
    if (u->dirs.root < 0 || fstat(u->dirs.root, &status))
        return unpack_fail(u, errno, "openat");
    u->dirs.root_inode = status.st_ino;
    u->dirs.text_valid = true;
    /* A default ACL of the host's directory must not leak into the layer. */
    fremovexattr(u->dirs.root, "system.posix_acl_default");
    return 0;
}

void dirs_close(struct unpacker *u)
{
    truncate_to(&u->dirs, 0);
    if (u->dirs.root >= 0)
        close(u->dirs.root);
    u->dirs.root = -1;
}

int dirs_clean(struct unpacker *u, const char *path, char *clean)
{
    size_t size = 0, depth = 0;

    clean[0] = '\0';
    for (const char *next = path; *next;) {
        size_t length = strcspn(next, "/");
        if (length == 2 && next[0] == '.' && next[1] == '.') {
            if (!depth--)
                return unpack_fail(u, 0, "its path leads out of the layer");
            char *slash = memrchr(clean, '/', size);
            size = slash ? (size_t)(slash - clean) : 0;
        } else if (length && !(length == 1 && next[0] == '.')) {
            if (length > NAME_MAX || size + 1 + length >= PATH_MAX)
                return unpack_fail(u, ENAMETOOLONG, "path");
            if (++depth > UNPACK_DEPTH_MAX)
                return unpack_fail(u, 0, "its path is too deep");
            if (size)
                clean[size++] = '/';
            memcpy(clean + size, next, length);
            size += length;
        }
        clean[size] = '\0';
        next += length + (next[length] == '/');
    }
    return 0;
}

static int push(struct unpacker *u, int fd, const char *name)
{
    struct dir_stack *dirs = &u->dirs;
    size_t size = top_path_size(dirs), length = strlen(name);
    struct stat status;

    if (fstat(fd, &status) || size + 1 + length >= sizeof dirs->path || dirs->depth >= UNPACK_DEPTH_MAX) {
        close(fd);
        return unpack_fail(u, ENAMETOOLONG, "path");
    }
    if (!tar_grow(&dirs->levels, &dirs->capacity, dirs->depth, sizeof *dirs->levels)) {
        close(fd);
        return unpack_fail(u, ENOMEM, "malloc");
    }
    if (size)
        dirs->path[size++] = '/';
    memcpy(dirs->path + size, name, length + 1);
    dirs->levels[dirs->depth++] = (struct level){fd, status.st_ino, size + length};
    return fd;
}

int dirs_enter(struct unpacker *u, const char *name, const char *path)
{
    int fd = openat(dirs_top(u), name, DIRECTORY);

    if (fd < 0)
        return unpack_fail(u, errno, "openat");
    if (push(u, fd, name) < 0)
        return -1;
    memmove(u->dirs.text, path, strlen(path) + 1);
    u->dirs.text_valid = true;
    return fd;
}

int dirs_make_opaque(struct unpacker *u, int fd)
{
    const char *name = u->options.user_xattrs ? "user.overlay.opaque" : "trusted.overlay.opaque";

    if (fsetxattr(fd, name, "y", 1, 0))
        return unpack_fail(u, errno, "setxattr");
    return 0;
}

int dirs_remove(struct unpacker *u, const char *name, const struct stat *found)
{
    int result = S_ISDIR(found->st_mode) ? remove_tree(dirs_top(u), name) : unlinkat(dirs_top(u), name, 0);

    /* The text may have led over a link that is no more. */
    u->dirs.text_valid = false;
    return result ? unpack_fail(u, errno, "unlinkat") : 0;
}

/* A directory that no member describes; if the layer said before that the name is gone, it hides those below. */
static int make_implicit(struct unpacker *u, const char *name, const struct tar_entry *member, bool opaque)
{
    if (mkdirat(dirs_top(u), name, IMPLICIT_MODE))
        return unpack_fail(u, errno, "mkdirat");
    int fd = openat(dirs_top(u), name, DIRECTORY);
    if (fd < 0)
        return unpack_fail(u, errno, "openat");
    if (push(u, fd, name) < 0)
        return -1;
    struct dir_record *record = table_record(u);
    if (!record)
        return unpack_fail(u, ENOMEM, "malloc");
    record->mtime = record->atime = member->mtime;
    record->mode = IMPLICIT_MODE;
    record->implicit = !opaque;
    if (meta_own(u, fd, 0, 0))
        return -1;
    /* Also without what a set-group-ID directory hands down: the same layer is the same everywhere. */
    if (fchmod(fd, IMPLICIT_MODE))
        return unpack_fail(u, errno, "fchmod");
    return opaque ? dirs_make_opaque(u, fd) : 0;
}

/* What a walk needs to know, and LINK, the target of the link that it came upon. */
struct walker {
    enum walk how;
    const struct tar_entry *member;
    char link[PATH_MAX];
};

/* What stands in the way of a walk is a link (1), or a whiteout that a directory replaces. */
static int step_over(struct unpacker *u, const char *name, struct walker *walker)
{
    struct stat status;

    if (fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW))
        return unpack_fail(u, errno, "fstatat");
    if (S_ISLNK(status.st_mode) && walker->how != WALK_REAL) {
        ssize_t size = readlinkat(dirs_top(u), name, walker->link, PATH_MAX);
        if (size < 0 || size >= PATH_MAX)
            return unpack_fail(u, size < 0 ? errno : ENAMETOOLONG, "readlinkat");
        walker->link[size] = '\0';
        return 1;
    }
    if (walker->how != WALK_MAKE || !unpack_is_whiteout(&status))
        return unpack_fail(u, walker->how == WALK_MAKE ? 0 : ENOENT, "a directory above it is not a directory");
    if (dirs_remove(u, name, &status))
        return -1;
    return make_implicit(u, name, walker->member, true);
}

/* One component down: 0, 1 for a link (its target is in the walker), or -1. */
static int step(struct unpacker *u, const char *name, struct walker *walker)
{
    int fd = openat(dirs_top(u), name, DIRECTORY);

    if (fd >= 0)
        return push(u, fd, name) < 0 ? -1 : 0;
    if (errno == ENOENT && walker->how >= WALK_WHITEOUT)
        return make_implicit(u, name, walker->member, false);
    if (errno == ELOOP || errno == ENOTDIR)
        return step_over(u, name, walker);
    return unpack_fail(u, errno, "openat");
}

/* Keeps what the stack and PATH have in common; returns the rest of PATH. */
static const char *keep_common(struct dir_stack *dirs, const char *path)
{
    size_t depth = 0, start = 0;

    for (; depth < dirs->depth; depth++) {
        size_t end = dirs->levels[depth].path_size, length = end - start;
        if (strncmp(path, dirs->path + start, length) || (path[length] && path[length] != '/'))
            break;
        path += length + (path[length] == '/');
        start = end + 1;
    }
    truncate_to(dirs, depth);
    return path;
}

/* PATH becomes the link's target followed by LEFT, which lies within PATH. */
static int insert_target(struct unpacker *u, char *path, const char *left, const char *link)
{
    char joined[PATH_MAX];
    size_t size = strlen(link);

    if (size + 1 + strlen(left) >= sizeof joined)
        return unpack_fail(u, ENAMETOOLONG, "path");
    memcpy(joined, link, size);
    joined[size] = '/';
    memcpy(joined + size + 1, left, strlen(left) + 1);
    memcpy(path, joined, size + 1 + strlen(left) + 1);
    if (link[0] == '/')
        truncate_to(&u->dirs, 0);
    return 0;
}

/* Walks PATH, which it uses up, from the top of the stack. */
static int walk(struct unpacker *u, char path[PATH_MAX], struct walker *walker)
{
    char name[NAME_MAX + 1], *rest = path;
    int links = 0;

    while (*rest) {
        size_t length = strcspn(rest, "/");
        if (length > NAME_MAX)
            return unpack_fail(u, ENAMETOOLONG, "path");
        memcpy(name, rest, length);
        name[length] = '\0';
        char *left = rest + length + (rest[length] == '/');
        int result = 0;
        if (!strcmp(name, ".."))
            truncate_to(&u->dirs, u->dirs.depth ? u->dirs.depth - 1 : 0);
        else if (length && strcmp(name, "."))
            result = step(u, name, walker);
        if (result > 0 && ++links > UNPACK_LINKS_MAX)
            return unpack_fail(u, ELOOP, "path");
        rest = result > 0 ? path : left;
        if (result > 0)
            result = insert_target(u, path, left, walker->link);
        if (result < 0) {
            snprintf(u->dirs.missing, sizeof u->dirs.missing, "%s/%s/%s", u->dirs.path, name, left);
            return -1;
        }
    }
    return dirs_top(u);
}

int dirs_walk(struct unpacker *u, const char *path, enum walk how, const struct tar_entry *member)
{
    struct dir_stack *dirs = &u->dirs;
    struct walker walker = {.how = how, .member = member};
    char rest[PATH_MAX];

    if (dirs->text_valid && !strcmp(path, dirs->text))
        return dirs_top(u);
    dirs->text_valid = false;
    const char *left = keep_common(dirs, path);
    memcpy(rest, left, strlen(left) + 1);
    if (walk(u, rest, &walker) < 0)
        return -1;
    memmove(dirs->text, path, strlen(path) + 1);
    dirs->text_valid = true;
    return dirs_top(u);
}
