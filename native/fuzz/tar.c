/* libFuzzer target for the tar parser: whatever the input, and however it is cut, the members are sound, and
 * always the same. tests/integration/test_fuzz_tar.py builds and runs it. */
#include "tar.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

enum { CHECKSUM = 148, CHECKSUM_SIZE = 8 };

/* What a run has delivered: a hash of everything, and how far the member's data have come. */
struct seen {
    uint64_t hash, position;
    bool in_member;
};

static void check(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static void mix(struct seen *seen, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        seen->hash = (seen->hash ^ bytes[i]) * 0x100000001b3ULL;
}

static void mix_time(struct seen *seen, const struct tar_time *time)
{
    check(time->nanoseconds >= 0 && time->nanoseconds < 1000000000, "nanoseconds are less than a second");
    mix(seen, &time->seconds, sizeof time->seconds);
    mix(seen, &time->nanoseconds, sizeof time->nanoseconds);
}

static int on_begin(void *context, const struct tar_entry *entry)
{
    struct seen *seen = context;

    check(!seen->in_member, "a member ends before the next begins");
    check(entry->type >= TAR_FILE && entry->type <= TAR_FIFO, "the type is one that is known");
    check(entry->type == TAR_FILE || entry->size == 0, "only files have a size");
    check(entry->size <= INT64_MAX, "the size is one that a file can have");
    check(!(entry->mode & ~07777U), "the mode has permission bits only");
    seen->in_member = true;
    seen->position = 0;
    mix(seen, entry->path, strlen(entry->path));
    mix(seen, entry->link, strlen(entry->link));
    mix(seen, &entry->size, sizeof entry->size);
    mix_time(seen, &entry->mtime);
    mix_time(seen, &entry->atime);
    for (size_t i = 0; i < entry->xattr_count; i++) {
        mix(seen, entry->xattrs[i].name, strlen(entry->xattrs[i].name));
        mix(seen, entry->xattrs[i].value, entry->xattrs[i].size);
    }
    return 0;
}

static int on_data(void *context, const void *data, size_t size, uint64_t offset)
{
    struct seen *seen = context;

    check(seen->in_member, "data belong to a member");
    check(size > 0 && offset >= seen->position, "data come in order");
    seen->position = offset + size;
    mix(seen, data, size);
    return 0;
}

static int on_end(void *context, const struct tar_entry *entry)
{
    struct seen *seen = context;

    check(seen->in_member, "what ends has begun");
    check(seen->position <= entry->size, "data lie within the file");
    check(entry->sparse || seen->position == entry->size, "a file is whole");
    seen->in_member = false;
    mix(seen, entry->path, strlen(entry->path));
    return 0;
}

static const struct tar_sink SINK = {on_begin, on_data, on_end};

static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
    struct seen seen = {0};
    struct tar_parser *parser = tar_new(&SINK, &seen);
    int result = 0;

    while (size && !result) {
        size_t part = size < piece ? size : piece;
        /* Exactly as long as it claims to be, so that the sanitizer sees the least overrun. */
        uint8_t *copy = malloc(part);
        memcpy(copy, data, part);
        result = tar_feed(parser, copy, part);
        free(copy);
        data += part;
        size -= part;
    }
    check(!result == !*tar_message(parser), "a failure has a reason");
    if (!result)
        result = tar_finish(parser);
    mix(&seen, tar_message(parser), strlen(tar_message(parser)));
    mix(&seen, tar_path(parser), strlen(tar_path(parser)));
    tar_free(parser);
    return seen.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t piece = (size_t)data[0] * 7 + 1;
    check(run(data + 1, size - 1, size) == run(data + 1, size - 1, piece), "cuts do not matter");
    return 0;
}

static void mend(uint8_t *block)
{
    unsigned sum = 0;

    memset(block + CHECKSUM, ' ', CHECKSUM_SIZE);
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + CHECKSUM, CHECKSUM_SIZE, "%06o", sum);
}

/* Mutations would stop at the first checksum: mend those of all blocks that have something like one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 16 == 0)
        return size;
    for (size_t at = 1; at + TAR_BLOCK <= size; at += TAR_BLOCK)
        if (data[at + CHECKSUM] >= '0' && data[at + CHECKSUM] <= '7' && !data[at + CHECKSUM + 6])
            mend(data + at);
    return size;
}
