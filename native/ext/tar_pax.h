/* The records of a PAX extended header (pax(1), "pax Extended Header"). */
#ifndef TRIMARAN_TAR_PAX_H
#define TRIMARAN_TAR_PAX_H

#include "tar.h"

/* SIZE bytes of content that belong at OFFSET of a sparse file. */
struct tar_piece {
    uint64_t offset, size;
};

struct tar_pieces {
    struct tar_piece *list;
    size_t count, capacity;
    bool half;                   /* an offset came, its size did not yet */
};

/* Pointers lead into the text that was parsed. A NULL string, or a false flag, is a record that is absent. */
struct tar_pax {
    const char *path, *link, *sparse_name;
    uint64_t size, uid, gid, sparse_size, sparse_major, sparse_minor;
    struct tar_time mtime, atime;
    bool has_size, has_uid, has_gid, has_mtime, has_atime, has_sparse_size, has_sparse_version;
    struct tar_pieces pieces;    /* sparse formats 0.0 and 0.1 */
    struct tar_xattr *xattrs;
    size_t xattr_count, xattr_capacity;
};

/* Parses SIZE bytes at TEXT in place (it is cut into strings). NULL, or what is wrong with it. */
const char *tar_pax_parse(struct tar_pax *pax, char *text, size_t size);
/* Forget everything; the lists keep their memory. */
void tar_pax_reset(struct tar_pax *pax);
void tar_pax_free(struct tar_pax *pax);

/* Appends an offset, or the size that belongs to the last one. NULL, or what is wrong. */
const char *tar_pieces_add(struct tar_pieces *pieces, uint64_t number);

/* In place of realloc: room for one more of SIZE bytes each. False without memory. */
bool tar_grow(void *list, size_t *capacity, size_t count, size_t size);

#endif
