#define _GNU_SOURCE
#include "unpack.h"

#include "tar_pax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct dir_table *table, uint64_t inode)
{
    size_t mask = table->slot_count - 1, at = (size_t)(inode * 0x9e3779b97f4a7c15ULL >> 20) & mask;

    while (table->slots[at] && table->list[table->slots[at] - 1].inode != inode)
        at = (at + 1) & mask;
    return at;
}

static bool grow_slots(struct dir_table *table)
{
    size_t count = table->slot_count ? table->slot_count * 2 : 64;
    uint32_t *slots = calloc(count, sizeof *slots);

    if (!slots)
        return false;
    free(table->slots);
    table->slots = slots;
    table->slot_count = count;
    for (size_t i = 0; i < table->count; i++)
        if (table->list[i].path)
            table->slots[slot_of(table, table->list[i].inode)] = (uint32_t)i + 1;
    return true;
}

static struct dir_record *append(struct dir_table *table, size_t slot, const char *path, uint64_t inode)
{
    char *copy = strdup(path);

    if (!copy || !tar_grow(&table->list, &table->capacity, table->count, sizeof *table->list)) {
        free(copy);
        return NULL;
    }
    table->list[table->count] = (struct dir_record){.path = copy, .inode = inode};
    table->slots[slot] = (uint32_t)++table->count;
    return &table->list[table->count - 1];
}

struct dir_record *table_record(struct unpacker *u)
{
    const struct dir_stack *dirs = &u->dirs;
    struct dir_table *table = &u->table;
    uint64_t inode = dirs->depth ? dirs->levels[dirs->depth - 1].inode : dirs->root_inode;

    if (table->count * 2 >= table->slot_count && !grow_slots(table))
        return NULL;
    size_t slot = slot_of(table, inode);
    if (table->slots[slot]) {
        struct dir_record *known = &table->list[table->slots[slot] - 1];
        if (!strcmp(known->path, dirs->path))
            return known;
        /* That directory was removed, and its inode number given to a new one. */
        free(known->path);
        known->path = NULL;
    }
    return append(table, slot, dirs->path, inode);
}

bool table_is_implicit(const struct unpacker *u, uint64_t inode)
{
    const struct dir_table *table = &u->table;
    size_t slot = table->slot_count ? slot_of(table, inode) : 0;

    return table->slot_count && table->slots[slot] && table->list[table->slots[slot] - 1].implicit;
}

void table_free(struct dir_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->list[i].path);
    free(table->list);
    free(table->slots);
    *table = (struct dir_table){0};
}

/* The descriptor of a record's directory; -1 with no fault if it is not there any more. */
static int find(struct unpacker *u, struct dir_record *record)
{
    int fd = dirs_walk(u, record->path, WALK_REAL, NULL);
    uint64_t inode = u->dirs.depth ? u->dirs.levels[u->dirs.depth - 1].inode : u->dirs.root_inode;

    if (fd < 0 && u->fault.number != ENOENT)
        return -1;
    if (fd < 0 || inode != record->inode) {
        u->fault = (struct fault){0};
        free(record->path);
        record->path = NULL;
        return -1;
    }
    return fd;
}

static int finish_times(struct unpacker *u, struct dir_record *record)
{
    int fd = find(u, record);
    struct timespec times[2] = {
        {record->atime.seconds, record->atime.nanoseconds},
        {record->mtime.seconds, record->mtime.nanoseconds},
    };

    if (fd < 0)
        return u->fault.what ? -1 : 0;
    return futimens(fd, times) ? unpack_fail(u, errno, "futimens") : 0;
}

static int finish_mode(struct unpacker *u, struct dir_record *record)
{
    int fd = find(u, record);

    if (fd < 0)
        return u->fault.what ? -1 : 0;
    return fchmod(fd, record->mode) ? unpack_fail(u, errno, "fchmod") : 0;
}

int table_finish(struct unpacker *u)
{
    struct dir_table *table = &u->table;

    u->dirs.text_valid = false;
    for (size_t i = 0; i < table->count; i++) {
        u->subject = table->list[i].path;
        if (u->subject && finish_times(u, &table->list[i]))
            return -1;
    }
    /* A directory's mode may shut its owner out, so what lies deeper, and was recorded later, comes first. */
    for (size_t i = u->options.late_modes ? table->count : 0; i-- > 0;) {
        u->subject = table->list[i].path;
        if (u->subject && finish_mode(u, &table->list[i]))
            return -1;
    }
    return 0;
}
