/* Reading the launch record: lines of "key value", each checked against a table. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum kind { TEXT, LIST, NUMBER, CHOICE };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *choices[5];
};

#define FIELD(name) offsetof(struct launch, name)

static const struct key keys[] = {
    {"id", TEXT, FIELD(id), {0}},
    {"mode", CHOICE, FIELD(mode), {"plan", "command", "connect"}},
    {"plan", NUMBER, FIELD(plan), {0}},
    {"arg", LIST, FIELD(args), {0}},
    {"env", LIST, FIELD(env), {0}},
    {"socket", TEXT, FIELD(socket), {0}},
    {"request", TEXT, FIELD(request), {0}},
    {"pid-file", TEXT, FIELD(pid_file), {0}},
    {"console-socket", TEXT, FIELD(console_socket), {0}},
    {"stdio", CHOICE, FIELD(stdio), {"pipes", "terminal", "pass", "null"}},
    {"stdin", CHOICE, FIELD(input), {"open", "once", "closed"}},
    {"client", NUMBER, FIELD(client), {0}},
    {"log", TEXT, FIELD(log), {0}},
    {"log-size", NUMBER, FIELD(log_size), {0}},
    {"log-files", NUMBER, FIELD(log_files), {0}},
    {"start", CHOICE, FIELD(start), {"now", "wait"}},
    {"rows", NUMBER, FIELD(rows), {0}},
    {"columns", NUMBER, FIELD(columns), {0}},
    {"oom", TEXT, FIELD(oom), {0}},
    {"cgroup-file", LIST, FIELD(cgroup_files), {0}},
    {"lease", NUMBER, FIELD(lease), {0}},
    {"durable", CHOICE, FIELD(durable), {"no", "yes"}},
};

enum { KEYS = sizeof keys / sizeof *keys };

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; NUL cannot be part of a value. */
static int percent_decode(char *text)
{
    char *out = text;

    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        int high = hex(in[1]), low = high < 0 ? -1 : hex(in[2]);
        if (low < 0 || !(high | low))
            return -1;
        *out++ = (char)(high << 4 | low);
        in += 2;
    }
    *out = 0;
    return 0;
}

/* Room for the lists: each may have as many entries as the record has lines, and a NULL at its end. */
static char **lists;
static size_t list_room, lists_used;

static int make_lists(const char *text)
{
    list_room = 2;
    for (; (text = strchr(text, '\n')); text++)
        list_room++;
    lists = calloc(list_room * KEYS, sizeof *lists);
    return lists ? 0 : -1;
}

static int append(char ***list, char *value)
{
    size_t n = 0;

    if (!*list)
        *list = lists + list_room * lists_used++;
    while ((*list)[n])
        n++;
    (*list)[n] = value;
    return 0;
}

static int set_choice(const struct key *key, uint64_t *field, const char *value)
{
    for (uint64_t i = 0; key->choices[i]; i++)
        if (!strcmp(key->choices[i], value)) {
            *field = i;
            return 0;
        }
    return -1;
}

static int set_number(uint64_t *field, const char *value)
{
    char *end;

    errno = 0;
    *field = strtoull(value, &end, 10);
    return errno || *end || *value < '0' || *value > '9' ? -1 : 0;
}

static int set(struct launch *launch, const struct key *key, char *value)
{
    void *field = (char *)launch + key->offset;

    if (percent_decode(value))
        return -1;
    switch (key->kind) {
    case TEXT:
        *(char **)field = value;
        return 0;
    case LIST:
        return append(field, value);
    case NUMBER:
        return set_number(field, value);
    case CHOICE:
        return set_choice(key, field, value);
    }
    return -1;
}

static int parse_line(struct launch *launch, char *line, uint32_t *seen)
{
    char *value = strchr(line, ' ');

    if (!value)
        return -1;
    *value++ = 0;
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].name, line))
            continue;
        if (keys[i].kind != LIST && *seen & 1U << i)
            return -1;
        *seen |= 1U << i;
        return set(launch, &keys[i], value);
    }
    return -1;
}

static const char *missing(const struct launch *launch)
{
    if (launch->mode == MODE_PLAN && !launch->plan)
        return "plan";
    if (launch->mode == MODE_COMMAND && !launch->args)
        return "arg";
    if (launch->mode == MODE_CONNECT && !launch->socket)
        return "socket";
    return NULL;
}

static char *map_text(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return NULL;
    /* One byte more than the file: the text ends with NUL, also when it fills its last page. */
    size_t size = (size_t)status.st_size;
    char *text = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED)
        return NULL;
    return read_file(fd, NULL, text, size + 1) == (ssize_t)size ? text : NULL;
}

/* On failure *fault names the key, and errno says why. */
int launch_read(struct launch *launch, int fd, const char **fault)
{
    char *text = map_text(fd), *next;
    uint32_t seen = 0;

    *launch = (struct launch){.input = INPUT_CLOSED, .log = (char *)"none", .log_files = 1};
    *fault = "launch";
    if (!text || make_lists(text) < 0)
        return -1;
    for (char *line = text; *line; line = next) {
        next = strchrnul(line, '\n');
        if (*next)
            *next++ = 0;
        *fault = line;
        if (parse_line(launch, line, &seen)) {
            errno = EINVAL;
            return -1;
        }
    }
    *fault = missing(launch);
    errno = EINVAL;
    return *fault ? -1 : 0;
}
