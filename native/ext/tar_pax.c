#include "tar_pax.h"

#include "tar_text.h"

#include <stdlib.h>
#include <string.h>

static const char NO_MEMORY[] = "out of memory";

bool tar_grow(void *list, size_t *capacity, size_t count, size_t size)
{
    void **memory = list;

    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    void *larger = reallocarray(*memory, wanted, size);
    if (!larger)
        return false;
    *memory = larger;
    *capacity = wanted;
    return true;
}

const char *tar_pieces_add(struct tar_pieces *pieces, uint64_t number)
{
    if (pieces->half) {
        pieces->list[pieces->count++].size = number;
        pieces->half = false;
        return NULL;
    }
    if (pieces->count >= TAR_SPARSE_MAX)
        return "a sparse file has too many pieces";
    if (!tar_grow(&pieces->list, &pieces->capacity, pieces->count, sizeof *pieces->list))
        return NO_MEMORY;
    pieces->list[pieces->count].offset = number;
    pieces->half = true;
    return NULL;
}

static const char *parse_map(struct tar_pax *pax, const char *text)
{
    while (*text) {
        const char *end = text + strcspn(text, ",");
        uint64_t number;
        if (!tar_parse_decimal(text, end, &number))
            return "GNU.sparse.map is not a list of numbers";
        const char *wrong = tar_pieces_add(&pax->pieces, number);
        if (wrong)
            return wrong;
        text = *end ? end + 1 : end;
    }
    return NULL;
}

static const char *add_xattr(struct tar_pax *pax, const char *name, const char *value, size_t size)
{
    if (!*name)
        return "an extended attribute has no name";
    for (size_t i = 0; i < pax->xattr_count; i++)
        if (!strcmp(pax->xattrs[i].name, name)) {
            pax->xattrs[i] = (struct tar_xattr){name, value, size};
            return NULL;
        }
    if (pax->xattr_count >= TAR_XATTRS_MAX)
        return "a member has too many extended attributes";
    if (!tar_grow(&pax->xattrs, &pax->xattr_capacity, pax->xattr_count, sizeof *pax->xattrs))
        return NO_MEMORY;
    pax->xattrs[pax->xattr_count++] = (struct tar_xattr){name, value, size};
    return NULL;
}

static const char *set_number(const char *text, uint64_t *number, bool *present)
{
    *present = tar_parse_decimal(text, text + strlen(text), number);
    return *present ? NULL : "a PAX number is not decimal";
}

static const char *set_time(const char *text, struct tar_time *time, bool *present)
{
    *present = tar_parse_time(text, time);
    return *present ? NULL : "a PAX time is malformed";
}

static const char *set_piece(struct tar_pax *pax, const char *text, bool is_size)
{
    uint64_t number;

    if (!tar_parse_decimal(text, text + strlen(text), &number) || pax->pieces.half != is_size)
        return "the sparse map in the PAX header is malformed";
    return tar_pieces_add(&pax->pieces, number);
}

static const char *set_sparse(struct tar_pax *pax, const char *key, const char *value)
{
    if (!strcmp(key, "major"))
        return set_number(value, &pax->sparse_major, &pax->has_sparse_version);
    if (!strcmp(key, "minor"))
        return set_number(value, &pax->sparse_minor, &pax->has_sparse_version);
    if (!strcmp(key, "size") || !strcmp(key, "realsize"))
        return set_number(value, &pax->sparse_size, &pax->has_sparse_size);
    if (!strcmp(key, "offset"))
        return set_piece(pax, value, false);
    if (!strcmp(key, "numbytes"))
        return set_piece(pax, value, true);
    if (!strcmp(key, "map"))
        return parse_map(pax, value);
    if (!strcmp(key, "name"))
        pax->sparse_name = value;
    return NULL;
}

static const char *set_string(const char **string, const char *value, size_t size)
{
    if (memchr(value, '\0', size))
        return "a name in the PAX header holds a NUL byte";
    *string = value;
    return NULL;
}

static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) ? NULL : text + length;
}

/* An empty value means "as in the plain header", except for an attribute, which may well be empty. */
static const char *set_record(struct tar_pax *pax, char *key, char *value, size_t size)
{
    const char *name = after(key, "SCHILY.xattr.");

    if (name)
        return add_xattr(pax, name, value, size);
    if ((name = after(key, "LIBARCHIVE.xattr."))) {
        if (!tar_decode_percent(key + (name - key)) || !tar_decode_base64(value, &size))
            return "an extended attribute is not encoded as libarchive does";
        return add_xattr(pax, name, value, size);
    }
    if (!size)
        return NULL;
    if (!strcmp(key, "path"))
        return set_string(&pax->path, value, size);
    if (!strcmp(key, "linkpath"))
        return set_string(&pax->link, value, size);
    if (!strcmp(key, "size"))
        return set_number(value, &pax->size, &pax->has_size);
    if (!strcmp(key, "uid"))
        return set_number(value, &pax->uid, &pax->has_uid);
    if (!strcmp(key, "gid"))
        return set_number(value, &pax->gid, &pax->has_gid);
    if (!strcmp(key, "mtime"))
        return set_time(value, &pax->mtime, &pax->has_mtime);
    if (!strcmp(key, "atime"))
        return set_time(value, &pax->atime, &pax->has_atime);
    if ((name = after(key, "GNU.sparse.")))
        return memchr(value, '\0', size) ? "a sparse record holds a NUL byte" : set_sparse(pax, name, value);
    return NULL;
}

const char *tar_pax_parse(struct tar_pax *pax, char *text, size_t size)
{
    static const char MALFORMED[] = "a PAX record is malformed";
    char *end = text + size;

    while (text < end) {
        uint64_t length;
        char *space = memchr(text, ' ', (size_t)(end - text));
        if (!space || !tar_parse_decimal(text, space, &length) || length > (uint64_t)(end - text))
            return MALFORMED;
        char *last = text + length - 1;   /* the newline */
        if (last <= space || *last != '\n')
            return MALFORMED;
        char *key = space + 1, *equals = memchr(key, '=', (size_t)(last - key));
        if (!equals || equals == key || memchr(key, '\0', (size_t)(equals - key)))
            return MALFORMED;
        *equals = *last = '\0';
        const char *wrong = set_record(pax, key, equals + 1, (size_t)(last - equals - 1));
        if (wrong)
            return wrong;
        text = last + 1;
    }
    return pax->pieces.half ? "the sparse map in the PAX header is incomplete" : NULL;
}

void tar_pax_reset(struct tar_pax *pax)
{
    struct tar_pieces pieces = {.list = pax->pieces.list, .capacity = pax->pieces.capacity};

    *pax = (struct tar_pax){
        .pieces = pieces,
        .xattrs = pax->xattrs,
        .xattr_capacity = pax->xattr_capacity,
    };
}

void tar_pax_free(struct tar_pax *pax)
{
    free(pax->pieces.list);
    free(pax->xattrs);
}
