#define _GNU_SOURCE
#include "unpack.h"

#include "tar_pax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int unpack_fail(struct unpacker *u, int number, const char *what)
{
    if (!u->fault.what) {
        const char *path = u->subject ? u->subject : "";
        size_t size = strnlen(path, sizeof u->fault.path - 1);
        u->fault.number = number;
        u->fault.what = what;
        memcpy(u->fault.path, path, size);
        u->fault.path[size] = '\0';
    }
    return -1;
}

int unpack_find_place(struct unpacker *u, const struct tar_entry *entry, enum walk how, struct place *place)
{
    char above[PATH_MAX];

    if (dirs_clean(u, entry->path, place->path))
        return -1;
    const char *slash = strrchr(place->path, '/');
    size_t size = slash ? (size_t)(slash - place->path) : 0;
    place->name = slash ? slash + 1 : place->path;
    memcpy(above, place->path, size);
    above[size] = '\0';
    return dirs_walk(u, above, how, entry) < 0 ? -1 : 0;
}

bool unpack_is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == 0;
}

/* A system call failed since NAME is taken: 0 if it has been freed. */
static int make_room(struct unpacker *u, const char *name, const char *call)
{
    struct stat status;

    if (errno != EEXIST)
        return unpack_fail(u, errno, call);
    if (fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW))
        return unpack_fail(u, errno, "fstatat");
    return dirs_remove(u, name, &status);
}

/* 1 if there is a directory already, 0 if one has been made, with *OPAQUE if it took the place of something. */
static int make_directory(struct unpacker *u, const char *name, bool *opaque)
{
    struct stat status;

    if (!mkdirat(dirs_top(u), name, 0700))
        return 0;
    if (errno != EEXIST)
        return unpack_fail(u, errno, "mkdirat");
    if (fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW))
        return unpack_fail(u, errno, "fstatat");
    if (S_ISDIR(status.st_mode))
        return 1;
    /* In sequence, what stood here has hidden the directory of the layers below. */
    *opaque = true;
    if (dirs_remove(u, name, &status))
        return -1;
    return mkdirat(dirs_top(u), name, 0700) ? unpack_fail(u, errno, "mkdirat") : 0;
}

static int describe_directory(struct unpacker *u, int fd, const struct tar_entry *entry)
{
    struct dir_record *record = table_record(u);

    if (!record)
        return unpack_fail(u, ENOMEM, "malloc");
    record->mtime = entry->mtime;
    record->atime = entry->atime;
    record->mode = entry->mode;
    record->implicit = false;
    return meta_apply(u, fd, entry, u->options.late_modes ? entry->mode | 0700 : entry->mode);
}

static int apply_directory(struct unpacker *u, const struct tar_entry *entry, const struct place *place)
{
    bool opaque = false;

    if (!*place->name) {
        u->root_described = true;
        if (meta_forget_xattrs(u, dirs_top(u)))
            return -1;
        return describe_directory(u, dirs_top(u), entry);
    }
    int existing = make_directory(u, place->name, &opaque);
    if (existing < 0)
        return -1;
    int fd = dirs_enter(u, place->name, place->path);
    if (fd < 0 || (existing && meta_forget_xattrs(u, fd)) || describe_directory(u, fd, entry))
        return -1;
    return opaque ? dirs_make_opaque(u, fd) : 0;
}

static int begin_file(struct unpacker *u, const struct place *place)
{
    enum { FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };

    u->file = openat(dirs_top(u), place->name, FLAGS, 0600);
    if (u->file < 0) {
        if (make_room(u, place->name, "openat"))
            return -1;
        u->file = openat(dirs_top(u), place->name, FLAGS, 0600);
    }
    return u->file < 0 ? unpack_fail(u, errno, "openat") : 0;
}

static int apply_symlink(struct unpacker *u, const struct tar_entry *entry, const struct place *place)
{
    if (symlinkat(entry->link, dirs_top(u), place->name)) {
        if (make_room(u, place->name, "symlinkat"))
            return -1;
        if (symlinkat(entry->link, dirs_top(u), place->name))
            return unpack_fail(u, errno, "symlinkat");
    }
    return meta_apply_at(u, place->name, entry);
}

static int apply_node(struct unpacker *u, const struct tar_entry *entry, const struct place *place)
{
    mode_t type = entry->type == TAR_FIFO ? S_IFIFO : entry->type == TAR_CHARACTER ? S_IFCHR : S_IFBLK;
    dev_t device = entry->type == TAR_FIFO ? 0 : makedev(entry->major, entry->minor);

    if (entry->type != TAR_FIFO && u->options.skip_devices) {
        u->skipped_devices++;
        return 0;
    }
    if (mknodat(dirs_top(u), place->name, type | 0600, device)) {
        if (make_room(u, place->name, "mknodat"))
            return -1;
        if (mknodat(dirs_top(u), place->name, type | 0600, device))
            return unpack_fail(u, errno, "mknodat");
    }
    return meta_apply_at(u, place->name, entry);
}

/* Everything of this directory in the layers below is hidden. */
static int apply_opaque(struct unpacker *u)
{
    if (!u->dirs.depth)
        u->root_opaque = true;
    return dirs_make_opaque(u, dirs_top(u));
}

char *unpack_path_of(const struct unpacker *u, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s%s%s", u->dirs.path, u->dirs.depth ? "/" : "", name) < 0 ? NULL : path;
}

static int note_whiteout(struct unpacker *u, const char *name)
{
    char *path = unpack_path_of(u, name);

    if (!path || !tar_grow(&u->whiteouts, &u->whiteout_capacity, u->whiteout_count, sizeof *u->whiteouts)) {
        free(path);
        return unpack_fail(u, ENOMEM, "malloc");
    }
    u->whiteouts[u->whiteout_count++] = path;
    return 0;
}

/* NAME is gone from the layers below. What this layer itself has by that name stays, whatever the order. */
static int apply_whiteout(struct unpacker *u, const char *name)
{
    struct stat status;

    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return unpack_fail(u, 0, "a whiteout names no file");
    if (!mknodat(dirs_top(u), name, S_IFCHR, 0))
        return note_whiteout(u, name);
    if (errno != EEXIST)
        return unpack_fail(u, errno, "mknodat");
    if (fstatat(dirs_top(u), name, &status, AT_SYMLINK_NOFOLLOW))
        return unpack_fail(u, errno, "fstatat");
    if (!S_ISDIR(status.st_mode))
        return 0;
    int fd = openat(dirs_top(u), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return unpack_fail(u, errno, "openat");
    int result = dirs_make_opaque(u, fd);
    close(fd);
    return result;
}

static const char WHITEOUT[] = ".wh.", META[] = ".wh..wh.", OPAQUE[] = ".wh..wh..opq";

static bool starts_with(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

/* What AUFS kept for itself (.wh..wh.aufs, .wh..wh.plnk, .wh..wh.orph) was packed by old engines. */
static bool is_leftover(const char *path)
{
    for (;;) {
        const char *slash = strchr(path, '/');
        if (starts_with(path, META) && (slash || strcmp(path, OPAQUE)))
            return true;
        if (!slash)
            return false;
        path = slash + 1;
    }
}

/* By its name alone: AUFS made whiteouts as hard links. */
static bool is_whiteout_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return starts_with(slash ? slash + 1 : path, WHITEOUT);
}

/* Where this layer itself has no directory, a whiteout says nothing. */
static int apply_removal(struct unpacker *u, const struct tar_entry *entry)
{
    struct place place;

    if (unpack_find_place(u, entry, WALK_WHITEOUT, &place)) {
        if (u->fault.number != ENOENT)
            return -1;
        u->fault = (struct fault){0};
        return 0;
    }
    return strcmp(place.name, OPAQUE) ? apply_whiteout(u, place.name + strlen(WHITEOUT)) : apply_opaque(u);
}

static int apply_placed(struct unpacker *u, const struct tar_entry *entry)
{
    struct place place;

    if (unpack_find_place(u, entry, WALK_MAKE, &place))
        return -1;
    if (entry->type == TAR_DIRECTORY)
        return apply_directory(u, entry, &place);
    if (!*place.name)
        return unpack_fail(u, 0, "the layer's root is not a directory");
    if (entry->type == TAR_FILE)
        return begin_file(u, &place);
    return entry->type == TAR_SYMLINK ? apply_symlink(u, entry, &place) : apply_node(u, entry, &place);
}

static int on_begin(void *context, const struct tar_entry *entry)
{
    struct unpacker *u = context;
    char clean[PATH_MAX];

    u->subject = entry->path;
    if (++u->entries > u->options.max_entries)
        return unpack_fail(u, 0, "the layer has more members than allowed");
    if (dirs_clean(u, entry->path, clean))
        return -1;
    if (is_leftover(clean))
        return 0;
    if (is_whiteout_name(clean))
        return apply_removal(u, entry);
    return entry->type == TAR_HARD_LINK ? unpack_hard_link(u, entry) : apply_placed(u, entry);
}

static int on_data(void *context, const void *data, size_t size, uint64_t offset)
{
    struct unpacker *u = context;

    while (u->file >= 0 && size) {
        ssize_t written = pwrite(u->file, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return unpack_fail(u, errno, "write");
        data = (const char *)data + written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

static int end_file(struct unpacker *u, const struct tar_entry *entry)
{
    struct timespec times[2];

    if (entry->sparse && ftruncate(u->file, (off_t)entry->size))
        return unpack_fail(u, errno, "ftruncate");
    if (meta_apply(u, u->file, entry, entry->mode))
        return -1;
    meta_times(entry, times);
    if (futimens(u->file, times))
        return unpack_fail(u, errno, "futimens");
    /* A network file system or a quota may report only now that there is no room. */
    int file = u->file;
    u->file = -1;
    return close(file) ? unpack_fail(u, errno, "close") : 0;
}

static int on_end(void *context, const struct tar_entry *entry)
{
    struct unpacker *u = context;
    int result = u->file < 0 ? 0 : end_file(u, entry);

    u->subject = NULL;
    return result;
}

static const struct tar_sink SINK = {on_begin, on_data, on_end};

int unpack_open(struct unpacker *u, int root)
{
    u->file = -1;
    u->dirs.root = -1;
    if (dirs_open(u, root))
        return -1;
    u->parser = tar_new(&SINK, u);
    return u->parser ? 0 : unpack_fail(u, ENOMEM, "malloc");
}

static int parser_failed(struct unpacker *u)
{
    u->subject = tar_path(u->parser);
    return unpack_fail(u, 0, tar_message(u->parser));
}

int unpack_feed(struct unpacker *u, const void *data, size_t size)
{
    if (u->fault.what)
        return -1;
    if (size > u->options.max_size || tar_offset(u->parser) > u->options.max_size - size)
        return unpack_fail(u, 0, "the layer is larger than allowed");
    return tar_feed(u->parser, data, size) ? parser_failed(u) : 0;
}

int unpack_finish(struct unpacker *u)
{
    if (u->fault.what)
        return -1;
    if (tar_finish(u->parser))
        return parser_failed(u);
    return table_finish(u);
}

void unpack_close(struct unpacker *u)
{
    tar_free(u->parser);
    if (u->file >= 0)
        close(u->file);
    dirs_close(u);
    table_free(&u->table);
    for (size_t i = 0; i < u->link_count; i++) {
        free(u->links[i].path);
        free(u->links[i].target);
    }
    free(u->links);
    for (size_t i = 0; i < u->whiteout_count; i++)
        free(u->whiteouts[i]);
    free(u->whiteouts);
    free(u->dirs.levels);
    free(u->options.uids.ranges);
    free(u->options.gids.ranges);
    free(u);
}
