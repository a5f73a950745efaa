/* Reading a plan: its bytes are checked in full before anything of it is executed. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { H = 1, P = 2, C = 4 };

struct kind {
    const char *signature;
    uint8_t sections;
};

static const struct kind kinds[] = {
#define OPERATION(code, name, signature, sections) [code] = {signature, sections},
#include "operations.def"
#undef OPERATION
};

enum {
#define OPERATION(code, name, signature, sections) CODE_##name = code,
#include "operations.def"
#undef OPERATION
};

struct reader {
    const uint8_t *at, *end;
};

static int refuse(struct plan_error *error, int index, const char *why)
{
    error->index = index;
    error->error = EINVAL;
    snprintf(error->step, sizeof error->step, "plan");
    snprintf(error->path, sizeof error->path, "%s", why);
    return -1;
}

static size_t left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static bool read_number(struct reader *reader, size_t size, uint64_t *number)
{
    *number = 0;
    if (left(reader) < size)
        return false;
    for (size_t i = 0; i < size; i++)
        *number |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += size;
    return true;
}

static bool read_bytes(struct reader *reader, struct value *value)
{
    if (!read_number(reader, 4, &value->number) || value->number > left(reader))
        return false;
    value->bytes = reader->at;
    reader->at += value->number;
    return true;
}

static bool read_string(struct reader *reader, struct value *value)
{
    if (!read_bytes(reader, value) || !left(reader) || *reader->at++)
        return false;
    value->string = (const char *)value->bytes;
    return !memchr(value->string, 0, value->number);
}

static bool read_list(struct reader *reader, struct value *value)
{
    uint64_t count;
    if (!read_number(reader, 4, &count) || count > PLAN_MAX_LIST || count > left(reader))
        return false;
    value->list = calloc(count + 1, sizeof *value->list);
    if (!value->list)
        return false;
    value->number = count;
    for (uint64_t i = 0; i < count; i++) {
        struct value item;
        if (!read_string(reader, &item))
            return false;
        value->list[i] = item.string;
    }
    return true;
}

static bool read_argument(struct reader *reader, char type, struct value *value)
{
    switch (type) {
    case 'u':
        return read_number(reader, 8, &value->number);
    case 'd':
        return read_number(reader, 4, &value->number) &&
               (value->number < PLAN_SLOTS || value->number == PLAN_NO_SLOT);
    case 's':
        return read_string(reader, value);
    case 'b':
        return read_bytes(reader, value);
    case 'l':
        return read_list(reader, value);
    default:
        return false;
    }
}

static int read_operation(struct reader *reader, struct operation *op, int index, struct plan_error *error)
{
    uint64_t code, flags, length;
    if (!read_number(reader, 2, &code) || !read_number(reader, 2, &flags) || !read_number(reader, 4, &length) ||
        length > left(reader))
        return refuse(error, index, "cut off");
    if (code >= sizeof kinds / sizeof *kinds || !kinds[code].signature)
        return refuse(error, index, "unknown operation");
    if (flags & ~(uint64_t)PLAN_ALL_FLAGS)
        return refuse(error, index, "unknown flag");
    op->code = (uint16_t)code;
    op->flags = (uint16_t)flags;
    struct reader inner = {reader->at, reader->at + length};
    const char *signature = kinds[code].signature;
    for (size_t i = 0; signature[i]; i++)
        if (!read_argument(&inner, signature[i], &op->args[i]))
            return refuse(error, index, "bad argument");
    if (left(&inner))
        return refuse(error, index, "too many arguments");
    reader->at = inner.end;
    return 0;
}

/* One clone, then one child marker, and execve as the last of the child's. */
static int check_sections(struct plan *plan, struct plan_error *error)
{
    int section = H;
    for (size_t i = 0; i < plan->count; i++) {
        const struct operation *op = &plan->operations[i];
        if (!(kinds[op->code].sections & section))
            return refuse(error, (int)i, "operation in the wrong section");
        if (op->code == CODE_clone) {
            plan->clone_at = i;
            section = P;
        } else if (op->code == CODE_child) {
            plan->child_at = i;
            section = C;
        } else if (op->code == CODE_execve && i + 1 != plan->count) {
            return refuse(error, (int)i, "execve is not the last operation");
        }
    }
    const struct operation *last = &plan->operations[plan->count - 1];
    if (section != C || last->code != CODE_execve)
        return refuse(error, -1, "no clone, child and execve");
    if (!last->args[0].number)
        return refuse(error, (int)plan->count - 1, "no argument to execute");
    return 0;
}

static int read_operations(struct plan *plan, struct reader *reader, struct plan_error *error)
{
    for (size_t i = 0; i < plan->count; i++)
        if (read_operation(reader, &plan->operations[i], (int)i, error))
            return -1;
    if (left(reader))
        return refuse(error, -1, "bytes after the last operation");
    return check_sections(plan, error);
}

int plan_parse(struct plan **result, const uint8_t *bytes, size_t size, struct plan_error *error)
{
    uint64_t total = 0, count = 0;
    struct reader reader = {bytes + 8, bytes + size};

    if (size < 16 || size > PLAN_MAX_SIZE || memcmp(bytes, "TRMPLAN1", 8))
        return refuse(error, -1, "not a plan");
    if (!read_number(&reader, 4, &total) || !read_number(&reader, 4, &count) || total != size || !count ||
        count > PLAN_MAX_OPERATIONS)
        return refuse(error, -1, "wrong size");
    struct plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return refuse(error, -1, "out of memory");
    plan->bytes = malloc(size);
    plan->operations = calloc(count, sizeof *plan->operations);
    if (!plan->bytes || !plan->operations) {
        plan_free(plan);
        return refuse(error, -1, "out of memory");
    }
    memcpy(plan->bytes, bytes, size);
    plan->count = count;
    reader = (struct reader){plan->bytes + 16, plan->bytes + size};
    if (read_operations(plan, &reader, error)) {
        plan_free(plan);
        return -1;
    }
    *result = plan;
    return 0;
}

int plan_load(struct plan **plan, int fd, struct plan_error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > PLAN_MAX_SIZE)
        return refuse(error, -1, "not a file of a plan's size");
    size_t size = (size_t)status.st_size, got = 0;
    uint8_t *bytes = malloc(size + 1);
    if (!bytes)
        return refuse(error, -1, "out of memory");
    while (got < size) {
        ssize_t n = pread(fd, bytes + got, size - got, (off_t)got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    int result = plan_parse(plan, bytes, got, error);
    free(bytes);
    return result;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; plan->operations && i < plan->count; i++)
        for (size_t k = 0; k < PLAN_MAX_ARGUMENTS; k++)
            free(plan->operations[i].args[k].list);
    free(plan->operations);
    free(plan->bytes);
    free(plan);
}
