/* Applying a tar stream to a directory, as one layer in the on-disk form of overlayfs.
 *
 * Everything is reached by descriptor: each directory on the way is opened by openat(2) with O_NOFOLLOW and
 * held, so nothing is ever resolved twice, and a symbolic link is followed only by reading it and walking its
 * target from the layer's own root. Nothing outside that root can be named.
 */
#ifndef TRIMARAN_UNPACK_H
#define TRIMARAN_UNPACK_H

#include "tar.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    UNPACK_DEPTH_MAX = 512,      /* directories above a member; each holds a descriptor while it is in use */
    UNPACK_LINKS_MAX = 40,       /* links followed in one path, as the kernel's own limit */
};

/* What went wrong: a system call (NUMBER is its errno, WHAT its name), or bad input (0, WHAT is the reason). */
struct fault {
    int number;
    const char *what;
    char path[PATH_MAX];
};

struct id_range {
    uint32_t inside, outside, count;
};

struct id_map {
    struct id_range *ranges;     /* none: ids stay as they are */
    size_t count;
};

struct unpack_options {
    struct id_map uids, gids;
    bool keep_owner;             /* everything belongs to the caller: no chown */
    bool user_xattrs;            /* user.overlay.* in place of trusted.overlay.* */
    bool skip_devices;
    bool late_modes;             /* a directory gets its mode last, since the caller is bound by it */
    uint64_t max_entries, max_size;
};

/* A directory that this layer made or described. The last description counts. */
struct dir_record {
    char *path;                  /* real: without links; NULL if the directory is gone */
    uint64_t inode;
    struct tar_time mtime, atime;
    uint32_t mode;
    bool implicit;               /* no member describes it: it is like the layer's below */
};

/* Directories are found again by inode number. */
struct dir_table {
    struct dir_record *list;
    size_t count, capacity;
    uint32_t *slots;             /* open addressing; index + 1, or 0 */
    size_t slot_count;
};

struct level {
    int fd;
    uint64_t inode;
    size_t path_size;            /* of the real path up to here */
};

/* The directory that the last member was in, with all that lead to it. */
struct dir_stack {
    int root;
    uint64_t root_inode;
    struct level *levels;
    size_t depth, capacity;
    char path[PATH_MAX];         /* real path of the top */
    char text[PATH_MAX];         /* the path that led to the top, if it is known to lead there still */
    bool text_valid;
    char missing[2 * PATH_MAX];  /* after a fault of ENOENT: the real path of what is not there */
};

/* A hard link whose target is not in this layer, but may be in one below. */
struct late_link {
    char *path, *target;
};

struct unpacker {
    struct tar_parser *parser;
    struct unpack_options options;
    struct fault fault;
    const char *subject;         /* the path that is being worked on, for the fault */
    struct dir_stack dirs;
    struct dir_table table;
    struct late_link *links;
    size_t link_count, link_capacity;
    char **whiteouts;            /* real paths of all that have been made */
    size_t whiteout_count, whiteout_capacity;
    int file;                    /* the regular file being written, or -1 */
    uint64_t entries, dropped_xattrs, skipped_devices;
    bool root_described, root_opaque, default_acls;
};

/* Where a member goes: NAME, the end of PATH, in the top of the stack. It is empty for the layer's root. */
struct place {
    char path[PATH_MAX];
    const char *name;
};

enum walk {
    WALK_ONLY,      /* a missing directory is a fault of ENOENT */
    WALK_REAL,      /* so is one that is reached over a link */
    WALK_WHITEOUT,  /* directories that are missing are made, but nothing is replaced: that is ENOENT too */
    WALK_MAKE,      /* directories that are missing are made, also in place of whiteouts */
};

/* unpack.c */
int unpack_open(struct unpacker *u, int root);   /* takes OPTIONS as set in U; keeps no hold on ROOT */
int unpack_feed(struct unpacker *u, const void *data, size_t size);
int unpack_finish(struct unpacker *u);
void unpack_close(struct unpacker *u);
bool unpack_is_whiteout(const struct stat *status);
/* Notes the fault, unless there is one already, and returns -1. */
int unpack_fail(struct unpacker *u, int number, const char *what);

/* The member's directory becomes the top of the stack. */
int unpack_find_place(struct unpacker *u, const struct tar_entry *entry, enum walk how, struct place *place);
/* The real path of NAME in the top, for the caller to free; NULL without memory. */
char *unpack_path_of(const struct unpacker *u, const char *name);

/* unpack_links.c: a hard link, or a note of it if this layer does not have its target. */
int unpack_hard_link(struct unpacker *u, const struct tar_entry *entry);

/* unpack_dirs.c: the walk. Each returns a descriptor that the stack owns, or -1. */
int dirs_open(struct unpacker *u, int root);
void dirs_close(struct unpacker *u);
int dirs_top(const struct unpacker *u);
/* To the directory PATH (cleaned). What is made gets the times of the member that needs it. */
int dirs_walk(struct unpacker *u, const char *path, enum walk how, const struct tar_entry *member);
/* Into the directory NAME within the top; PATH is the text that leads there. */
int dirs_enter(struct unpacker *u, const char *name, const char *path);
/* Remove what is at NAME in the top, whatever it is. */
int dirs_remove(struct unpacker *u, const char *name, const struct stat *found);
int dirs_make_opaque(struct unpacker *u, int fd);
/* Without "." and "//"; ".." is resolved by the text, and is a fault if it leads above the root. */
int dirs_clean(struct unpacker *u, const char *path, char *clean);

/* unpack_table.c */
/* The record of the top, new or known; NULL without memory. */
struct dir_record *table_record(struct unpacker *u);
/* Whether no member has described this directory yet. */
bool table_is_implicit(const struct unpacker *u, uint64_t inode);
void table_free(struct dir_table *table);
/* All members are there: give the directories their times, and modes if they are late. */
int table_finish(struct unpacker *u);

/* unpack_meta.c */
/* Owner, attributes and mode of an open file or directory; not its times. */
int meta_apply(struct unpacker *u, int fd, const struct tar_entry *entry, uint32_t mode);
/* Owner, attributes, mode and times of what cannot be opened: NAME in the top. */
int meta_apply_at(struct unpacker *u, const char *name, const struct tar_entry *entry);
/* Remove the attributes that an earlier member gave to a directory. */
int meta_forget_xattrs(struct unpacker *u, int fd);
int meta_own(struct unpacker *u, int fd, uint64_t uid, uint64_t gid);
void meta_times(const struct tar_entry *entry, struct timespec times[2]);

/* remove.c: remove NAME within directory FD with all that is in it. 0, or -1 with errno; mount points stay. */
int remove_tree(int fd, const char *name);

#endif
