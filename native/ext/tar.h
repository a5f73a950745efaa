/* A push parser for tar streams: V7, ustar, star, GNU and PAX (pax(1) "Extended Interchange Format", GNU tar
 * manual "Tar Internals"). It knows nothing of Python or of files, so that it can be fuzzed alone.
 * Where formats leave room it reads as Go's archive/tar does, which most engines use. */
#ifndef TRIMARAN_TAR_H
#define TRIMARAN_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAR_BLOCK = 512,
    TAR_META_MAX = 1 << 20,      /* bytes of one extended header, long name or long link */
    TAR_SPARSE_MAX = 1 << 20,    /* pieces of one sparse file */
    TAR_XATTRS_MAX = 4096,       /* extended attributes of one member */
};

enum tar_type {
    TAR_FILE = '0',
    TAR_HARD_LINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHARACTER = '3',
    TAR_BLOCK_DEVICE = '4',
    TAR_DIRECTORY = '5',
    TAR_FIFO = '6',
};

struct tar_time {
    int64_t seconds;
    int32_t nanoseconds;
};

struct tar_xattr {
    const char *name;
    const void *value;
    size_t size;
};

/* One member. Strings end in NUL, hold no other, and are valid until tar_sink.end returns. */
struct tar_entry {
    enum tar_type type;
    const char *path;
    const char *link;
    uint64_t size;               /* logical: with the holes of a sparse file */
    bool sparse;
    uint32_t mode;               /* permission bits only */
    uint64_t uid, gid;
    struct tar_time mtime, atime;
    uint32_t major, minor;
    const struct tar_xattr *xattrs;
    size_t xattr_count;
};

/* Each returns 0, or -1 to stop: tar_feed then returns -1 at once. */
struct tar_sink {
    int (*begin)(void *context, const struct tar_entry *entry);
    int (*data)(void *context, const void *data, size_t size, uint64_t offset);
    int (*end)(void *context, const struct tar_entry *entry);
};

struct tar_parser;

struct tar_parser *tar_new(const struct tar_sink *sink, void *context);
void tar_free(struct tar_parser *parser);

/* 0, or -1: the input is malformed (tar_message says why), or the sink stopped (tar_message is empty). */
int tar_feed(struct tar_parser *parser, const void *data, size_t size);

/* The stream has ended: -1 if it ended within a member. */
int tar_finish(struct tar_parser *parser);

const char *tar_message(const struct tar_parser *parser);
/* Path of the member that the parser is at, or "". */
const char *tar_path(const struct tar_parser *parser);
/* Bytes consumed so far. */
uint64_t tar_offset(const struct tar_parser *parser);
/* Where the last header, or map, that was looked at begins. */
uint64_t tar_block_offset(const struct tar_parser *parser);

#endif
