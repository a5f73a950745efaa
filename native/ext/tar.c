#include "tar.h"

#include "tar_pax.h"
#include "tar_text.h"

#include <stdlib.h>
#include <string.h>

/* Offsets and sizes of header fields. */
enum {
    NAME = 0, NAME_SIZE = 100,
    MODE = 100, UID = 108, GID = 116, ID_SIZE = 8,
    SIZE = 124, MTIME = 136, NUMBER_SIZE = 12,
    TYPE = 156,
    LINK = 157,
    MAGIC = 257,
    MAJOR = 329, MINOR = 337,
    PREFIX = 345, PREFIX_SIZE = 155, STAR_PREFIX_SIZE = 131, STAR_TRAILER = 508,
    GNU_PIECES = 386, GNU_PIECES_COUNT = 4, GNU_EXTENDED = 482, GNU_REAL_SIZE = 483,
    EXTENSION_PIECES_COUNT = 21, EXTENSION_EXTENDED = 504,
    PIECE_SIZE = 2 * NUMBER_SIZE,
};

enum format { V7, USTAR, STAR, GNU };

enum state {
    HEADER,          /* at a header block */
    META,            /* in the body of a PAX header, long name or long link */
    SKIP,            /* in the body of a member that is ignored */
    SPARSE_BLOCKS,   /* at a GNU sparse extension block */
    SPARSE_MAP,      /* at a block of a PAX 1.0 sparse map */
    DATA,
    PADDING,
    END,             /* after the two zero blocks: whatever follows is ignored */
};

struct text {
    char *bytes;     /* NULL until one has been read for the next member */
    size_t size;
};

struct tar_parser {
    const struct tar_sink *sink;
    void *context;
    enum state state;
    const char *message;
    uint64_t offset;
    uint64_t block_offset;       /* where the block that is, or was last, looked at begins */

    uint8_t block[TAR_BLOCK];
    size_t block_size;
    bool zero_block;

    struct text pax_text, long_name, long_link;
    struct text *meta;           /* which of the three is being read */
    char name[NAME_SIZE + 1 + PREFIX_SIZE + 1], link[NAME_SIZE + 1];

    struct tar_pax pax;
    struct tar_entry entry;
    uint64_t remaining;          /* bytes of the body that have not been read */
    size_t padding;

    size_t piece;                /* index of the piece that the next data belong to */
    uint64_t position;           /* bytes delivered of that piece, or of a plain file */
    uint64_t map_left, number;   /* PAX 1.0 map: numbers still to come; the one being read */
    bool map_started, has_digit;
};

static int fail(struct tar_parser *parser, const char *message)
{
    parser->message = message;
    return -1;
}

static void forget(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

/* Between members: nothing of the last one may colour the next. */
static void forget_member(struct tar_parser *parser)
{
    forget(&parser->pax_text);
    forget(&parser->long_name);
    forget(&parser->long_link);
    tar_pax_reset(&parser->pax);
    parser->entry = (struct tar_entry){.path = "", .link = ""};
}

struct tar_parser *tar_new(const struct tar_sink *sink, void *context)
{
    struct tar_parser *parser = calloc(1, sizeof *parser);

    if (parser) {
        parser->sink = sink;
        parser->context = context;
        parser->message = "";
        forget_member(parser);
    }
    return parser;
}

void tar_free(struct tar_parser *parser)
{
    if (!parser)
        return;
    forget_member(parser);
    tar_pax_free(&parser->pax);
    free(parser);
}

const char *tar_message(const struct tar_parser *parser)
{
    return parser->message;
}

const char *tar_path(const struct tar_parser *parser)
{
    return parser->entry.path;
}

uint64_t tar_offset(const struct tar_parser *parser)
{
    return parser->offset;
}

uint64_t tar_block_offset(const struct tar_parser *parser)
{
    return parser->block_offset;
}

static bool read_unsigned(const uint8_t *field, size_t size, uint64_t *value)
{
    int64_t number;

    if (!tar_parse_field(field, size, &number) || number < 0)
        return false;
    *value = (uint64_t)number;
    return true;
}

static enum format format_of(const uint8_t *block)
{
    if (!memcmp(block + MAGIC, "ustar\0" "00", 8))
        return memcmp(block + STAR_TRAILER, "tar", 4) ? USTAR : STAR;
    return memcmp(block + MAGIC, "ustar  ", 8) ? V7 : GNU;
}

static void read_names(struct tar_parser *parser, const uint8_t *block, enum format format)
{
    size_t limit = format == USTAR ? PREFIX_SIZE : format == STAR ? STAR_PREFIX_SIZE : 0;
    size_t length = strnlen((const char *)block + PREFIX, limit);
    char *name = parser->name;

    if (length) {
        memcpy(name, block + PREFIX, length);
        name[length] = '/';
        name += length + 1;
    }
    length = strnlen((const char *)block + NAME, NAME_SIZE);
    memcpy(name, block + NAME, length);
    name[length] = '\0';
    length = strnlen((const char *)block + LINK, NAME_SIZE);
    memcpy(parser->link, block + LINK, length);
    parser->link[length] = '\0';
    parser->entry.path = parser->name;
    parser->entry.link = parser->link;
}

static bool is_device(enum tar_type type)
{
    return type == TAR_CHARACTER || type == TAR_BLOCK_DEVICE;
}

static int read_numbers(struct tar_parser *parser, const uint8_t *block, enum format format)
{
    struct tar_entry *entry = &parser->entry;
    uint64_t mode, major = 0, minor = 0;

    if (!read_unsigned(block + MODE, ID_SIZE, &mode) || !read_unsigned(block + UID, ID_SIZE, &entry->uid) ||
        !read_unsigned(block + GID, ID_SIZE, &entry->gid) ||
        !read_unsigned(block + SIZE, NUMBER_SIZE, &entry->size) ||
        !tar_parse_field(block + MTIME, NUMBER_SIZE, &entry->mtime.seconds))
        return fail(parser, "a number in the header is malformed");
    if (is_device(entry->type) && format != V7 &&
        (!read_unsigned(block + MAJOR, ID_SIZE, &major) || !read_unsigned(block + MINOR, ID_SIZE, &minor) ||
         major > UINT32_MAX || minor > UINT32_MAX))
        return fail(parser, "a device number is malformed");
    entry->mode = (uint32_t)mode & 07777;
    entry->major = (uint32_t)major;
    entry->minor = (uint32_t)minor;
    entry->atime = entry->mtime;
    return 0;
}

static void apply_pax(struct tar_parser *parser)
{
    const struct tar_pax *pax = &parser->pax;
    struct tar_entry *entry = &parser->entry;

    if (pax->path)
        entry->path = pax->path;
    if (pax->link)
        entry->link = pax->link;
    if (parser->long_name.bytes)
        entry->path = parser->long_name.bytes;
    if (parser->long_link.bytes)
        entry->link = parser->long_link.bytes;
    if (pax->has_size)
        entry->size = pax->size;
    if (pax->has_uid)
        entry->uid = pax->uid;
    if (pax->has_gid)
        entry->gid = pax->gid;
    if (pax->has_mtime)
        entry->mtime = pax->mtime;
    entry->atime = pax->has_atime ? pax->atime : entry->mtime;
    entry->xattrs = pax->xattrs;
    entry->xattr_count = pax->xattr_count;
}

/* The pieces must be in order, apart, inside the file, and as long as the stored data together. */
static int check_pieces(struct tar_parser *parser)
{
    const struct tar_pieces *pieces = &parser->pax.pieces;
    uint64_t end = 0, stored = 0;

    for (size_t i = 0; i < pieces->count; i++) {
        const struct tar_piece *piece = &pieces->list[i];
        if (piece->offset < end || piece->size > INT64_MAX || piece->offset > INT64_MAX ||
            piece->offset + piece->size > parser->entry.size)
            return fail(parser, "the pieces of a sparse file overlap or leave it");
        end = piece->offset + piece->size;
        stored += piece->size;
    }
    if (pieces->half || stored != parser->remaining)
        return fail(parser, "the map of a sparse file does not fit its data");
    return 0;
}

static int end_member(struct tar_parser *parser)
{
    int result = parser->sink->end(parser->context, &parser->entry);

    parser->state = parser->padding ? PADDING : HEADER;
    forget_member(parser);
    return result;
}

/* All of the header is known: hand the member over, and go on to its data. */
static int begin_member(struct tar_parser *parser)
{
    if (parser->entry.sparse && check_pieces(parser))
        return -1;
    if (parser->entry.size > INT64_MAX)
        return fail(parser, "a file is larger than a file can be");
    parser->piece = 0;
    parser->position = 0;
    if (parser->sink->begin(parser->context, &parser->entry))
        return -1;
    parser->state = DATA;
    return parser->remaining ? 0 : end_member(parser);
}

static int add_field_pieces(struct tar_parser *parser, const uint8_t *field, size_t count)
{
    for (size_t i = 0; i < count; i++, field += PIECE_SIZE) {
        uint64_t offset, size;
        if (!field[0])
            break;
        if (!read_unsigned(field, NUMBER_SIZE, &offset) ||
            !read_unsigned(field + NUMBER_SIZE, NUMBER_SIZE, &size))
            return fail(parser, "a GNU sparse map is malformed");
        const char *wrong = tar_pieces_add(&parser->pax.pieces, offset);
        if (!wrong)
            wrong = tar_pieces_add(&parser->pax.pieces, size);
        if (wrong)
            return fail(parser, wrong);
    }
    return 0;
}

static int begin_gnu_sparse(struct tar_parser *parser, const uint8_t *block)
{
    parser->entry.sparse = true;
    if (!read_unsigned(block + GNU_REAL_SIZE, NUMBER_SIZE, &parser->entry.size))
        return fail(parser, "a GNU sparse header is malformed");
    parser->pax.pieces.count = 0;
    if (add_field_pieces(parser, block + GNU_PIECES, GNU_PIECES_COUNT))
        return -1;
    parser->state = SPARSE_BLOCKS;
    return block[GNU_EXTENDED] ? 0 : begin_member(parser);
}

static int on_sparse_block(struct tar_parser *parser, const uint8_t *block)
{
    if (add_field_pieces(parser, block, EXTENSION_PIECES_COUNT))
        return -1;
    return block[EXTENSION_EXTENDED] ? 0 : begin_member(parser);
}

static int begin_pax_sparse(struct tar_parser *parser)
{
    const struct tar_pax *pax = &parser->pax;

    parser->entry.sparse = true;
    if (pax->sparse_name)
        parser->entry.path = pax->sparse_name;
    if (!pax->has_sparse_size)
        return fail(parser, "a sparse file states no size");
    parser->entry.size = pax->sparse_size;
    if (pax->sparse_major == 0)
        return begin_member(parser);
    if (pax->sparse_major != 1 || pax->sparse_minor != 0)
        return fail(parser, "a sparse file is in a format that is not known");
    parser->state = SPARSE_MAP;
    parser->pax.pieces.count = 0;
    parser->map_started = parser->has_digit = false;
    parser->map_left = parser->number = 0;
    return 0;
}

/* One number of a PAX 1.0 map is complete: first comes the count of pieces, then their offsets and sizes. */
static int on_map_number(struct tar_parser *parser)
{
    const char *wrong = NULL;

    if (!parser->map_started) {
        parser->map_started = true;
        if (parser->number > TAR_SPARSE_MAX)
            return fail(parser, "a sparse file has too many pieces");
        parser->map_left = 2 * parser->number;
    } else {
        wrong = tar_pieces_add(&parser->pax.pieces, parser->number);
        parser->map_left--;
    }
    parser->number = 0;
    parser->has_digit = false;
    return wrong ? fail(parser, wrong) : 0;
}

static int on_map_block(struct tar_parser *parser, const uint8_t *block)
{
    static const char MALFORMED[] = "the map of a sparse file is malformed";

    if (parser->remaining < TAR_BLOCK)
        return fail(parser, MALFORMED);
    parser->remaining -= TAR_BLOCK;
    for (size_t i = 0; i < TAR_BLOCK && (!parser->map_started || parser->map_left); i++) {
        if (block[i] >= '0' && block[i] <= '9' && parser->number <= INT64_MAX / 10 - 1) {
            parser->number = parser->number * 10 + (uint64_t)(block[i] - '0');
            parser->has_digit = true;
        } else if (block[i] != '\n' || !parser->has_digit) {
            return fail(parser, MALFORMED);
        } else if (on_map_number(parser)) {
            return -1;
        }
    }
    return parser->map_started && !parser->map_left ? begin_member(parser) : 0;
}

static int begin_meta(struct tar_parser *parser, struct text *text)
{
    if (parser->remaining > TAR_META_MAX)
        return fail(parser, "an extended header is too large");
    forget(text);
    if (text == &parser->pax_text)
        tar_pax_reset(&parser->pax);
    text->bytes = malloc((size_t)parser->remaining + 1);
    if (!text->bytes)
        return fail(parser, "out of memory");
    parser->meta = text;
    parser->state = META;
    return 0;
}

static int end_meta(struct tar_parser *parser)
{
    struct text *text = parser->meta;
    const char *wrong = NULL;

    text->bytes[text->size] = '\0';
    if (text == &parser->pax_text)
        wrong = tar_pax_parse(&parser->pax, text->bytes, text->size);
    parser->state = parser->padding ? PADDING : HEADER;
    return wrong ? fail(parser, wrong) : 0;
}

static void set_body(struct tar_parser *parser, uint64_t size)
{
    parser->remaining = size;
    parser->padding = (size_t)(-size % TAR_BLOCK);
}

static int begin_file(struct tar_parser *parser, const uint8_t *block, char type, enum format format)
{
    set_body(parser, parser->entry.size);
    parser->entry.type = TAR_FILE;
    if (type == 'S' && format == GNU)
        return begin_gnu_sparse(parser, block);
    if (parser->pax.has_sparse_version || parser->pax.pieces.count)
        return begin_pax_sparse(parser);
    return begin_member(parser);
}

static int begin_typed(struct tar_parser *parser, const uint8_t *block, char type, enum format format)
{
    size_t length = strlen(parser->entry.path);

    switch (type) {
    case '\0':
        if (length && parser->entry.path[length - 1] == '/') {
            parser->entry.type = TAR_DIRECTORY;
            break;
        }
        return begin_file(parser, block, type, format);
    case '0':
    case '7':
    case 'S':
        return begin_file(parser, block, type, format);
    case TAR_HARD_LINK:
    case TAR_SYMLINK:
    case TAR_CHARACTER:
    case TAR_BLOCK_DEVICE:
    case TAR_DIRECTORY:
    case TAR_FIFO:
        break;
    default:
        return fail(parser, "a member is of a type that is not known");
    }
    /* These have no body, whatever size they state. */
    parser->entry.size = 0;
    set_body(parser, 0);
    return begin_member(parser);
}

static int on_zero_block(struct tar_parser *parser)
{
    if (parser->zero_block)
        parser->state = END;
    parser->zero_block = true;
    return 0;
}

static int on_header(struct tar_parser *parser, const uint8_t *block)
{
    static const uint8_t ZERO[TAR_BLOCK];
    enum format format = format_of(block);
    char type = (char)block[TYPE];

    if (!block[0] && !memcmp(block, ZERO, TAR_BLOCK))
        return on_zero_block(parser);
    if (parser->zero_block)
        return fail(parser, "a header follows a zero block");
    if (!tar_checksum_matches(block))
        return fail(parser, "the checksum of a header is wrong");
    parser->entry.type = (enum tar_type)type;
    read_names(parser, block, format);
    if (read_numbers(parser, block, format))
        return -1;
    set_body(parser, parser->entry.size);
    switch (type) {
    case 'x':
    case 'X':
        return begin_meta(parser, &parser->pax_text);
    case 'L':
        return begin_meta(parser, &parser->long_name);
    case 'K':
        return begin_meta(parser, &parser->long_link);
    case 'g':   /* other engines do not apply global headers to the members, so images do not rely on them */
        parser->state = parser->remaining ? SKIP : HEADER;
        return 0;
    default:
        apply_pax(parser);
        return begin_typed(parser, block, type, format);
    }
}

static int deliver(struct tar_parser *parser, const uint8_t *data, size_t size)
{
    if (!parser->entry.sparse) {
        uint64_t at = parser->position;
        parser->position += size;
        return parser->sink->data(parser->context, data, size, at);
    }
    while (size) {
        const struct tar_piece *piece = &parser->pax.pieces.list[parser->piece];
        uint64_t left = piece->size - parser->position;
        size_t part = left < size ? (size_t)left : size;
        if (part && parser->sink->data(parser->context, data, part, piece->offset + parser->position))
            return -1;
        data += part;
        size -= part;
        parser->position += part;
        if (parser->position == piece->size) {
            parser->piece++;
            parser->position = 0;
        }
    }
    return 0;
}

static int on_body(struct tar_parser *parser, const uint8_t *data, size_t size)
{
    parser->remaining -= size;
    if (parser->state == META) {
        memcpy(parser->meta->bytes + parser->meta->size, data, size);
        parser->meta->size += size;
        return parser->remaining ? 0 : end_meta(parser);
    }
    if (parser->state == DATA) {
        if (deliver(parser, data, size))
            return -1;
        return parser->remaining ? 0 : end_member(parser);
    }
    if (!parser->remaining)
        parser->state = parser->padding ? PADDING : HEADER;
    return 0;
}

static int on_block(struct tar_parser *parser, const uint8_t *block)
{
    switch (parser->state) {
    case HEADER:
        return on_header(parser, block);
    case SPARSE_BLOCKS:
        return on_sparse_block(parser, block);
    default:
        return on_map_block(parser, block);
    }
}

static size_t smaller(size_t size, uint64_t limit)
{
    return limit < size ? (size_t)limit : size;
}

/* Bytes taken from DATA, which holds SIZE > 0; *RESULT as tar_feed. */
static size_t take(struct tar_parser *parser, const uint8_t *data, size_t size, int *result)
{
    size_t taken;

    switch (parser->state) {
    case END:
        return size;
    case META:
    case SKIP:
    case DATA:
        taken = smaller(size, parser->remaining);
        *result = on_body(parser, data, taken);
        return taken;
    case PADDING:
        taken = smaller(size, parser->padding);
        parser->padding -= taken;
        if (!parser->padding)
            parser->state = HEADER;
        return taken;
    default:
        break;
    }
    if (!parser->block_size)
        parser->block_offset = parser->offset;
    if (!parser->block_size && size >= TAR_BLOCK) {
        *result = on_block(parser, data);
        return TAR_BLOCK;
    }
    taken = smaller(size, TAR_BLOCK - parser->block_size);
    memcpy(parser->block + parser->block_size, data, taken);
    parser->block_size += taken;
    if (parser->block_size == TAR_BLOCK) {
        parser->block_size = 0;
        *result = on_block(parser, parser->block);
    }
    return taken;
}

int tar_feed(struct tar_parser *parser, const void *data, size_t size)
{
    const uint8_t *next = data;
    int result = *parser->message ? -1 : 0;

    while (size && !result) {
        size_t taken = take(parser, next, size, &result);
        next += taken;
        size -= taken;
        parser->offset += taken;
    }
    return result;
}

int tar_finish(struct tar_parser *parser)
{
    if (*parser->message)
        return -1;
    bool pending = parser->pax_text.bytes || parser->long_name.bytes || parser->long_link.bytes;
    if (parser->state == END || (parser->state == HEADER && !parser->block_size && !pending))
        return 0;
    return fail(parser, "the archive ends within a member");
}
