/* Log records: the CRI's (stream tag text) and Docker's (JSON, one object a line). */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum format { NONE, CRI, JSON };
enum { ROOM = 32 * 1024, MAX_STAMP = 96, MAX_ESCAPE = 6, MAX_HEADER = 256 };

static struct logfile file = {.fd = -1};
static enum format format;
static char out[ROOM];
static size_t used;
/* JSON is UTF-8: the bytes of a character that a read cut in two wait here for the rest of it. */
static struct carry {
    char bytes[4];
    size_t count;
} carries[3];

static const char *const stream_names[] = {"stdin", "stdout", "stderr"};

static void put_loss(void);

/* Write out whole records. What cannot be written is counted, and said in the log when writing works again. */
static void flush(void)
{
    if (!used)
        return;
    file.lost += used - logfile_append(&file, out, used);
    used = 0;
}

static void put(const char *data, size_t size)
{
    memcpy(out + used, data, size);
    used += size;
}

static size_t stamp(char *buffer)
{
    struct timespec now;
    struct tm parts;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    return (size_t)snprintf(buffer, MAX_STAMP, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", parts.tm_year + 1900,
                            parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec);
}

/* Room for one record of at most SIZE bytes; files are turned over between records only. */
static void reserve(size_t size)
{
    if (file.limit && file.size + used && file.size + used + size > file.limit) {
        flush();
        if (file.size && logfile_rotate(&file))
            file.limit = 0;
    }
    if (used + size > ROOM || file.lost)
        flush();
    if (file.lost)
        put_loss();
}

static void put_cri(int stream, const char *time, const char *line, size_t size)
{
    char header[MAX_HEADER];
    bool whole = size && line[size - 1] == '\n';
    int n = snprintf(header, sizeof header, "%s %s %c ", time, stream_names[stream], whole ? 'F' : 'P');

    reserve((size_t)n + size + 1);
    put(header, (size_t)n);
    put(line, size);
    if (!whole)
        put("\n", 1);
}

/* The length of the UTF-8 character at the start (RFC 3629); 0 if it is none, -1 if it is cut off. */
static int utf8_length(const unsigned char *s, size_t size)
{
    int length = s[0] < 0x80 ? 1 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : 0;
    if (s[0] >= 0xF0 && s[0] < 0xF5)
        length = 4;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= size)
            return -1;
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = size > 1 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90));
    bool outside = size > 1 && ((s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F));
    return length > 1 && (overlong || outside) ? 0 : length;
}

static void put_escape(unsigned code)
{
    char text[MAX_ESCAPE + 1];

    snprintf(text, sizeof text, "\\u%04x", code);
    put(text, MAX_ESCAPE);
}

/* A byte that is not UTF-8 becomes the lone surrogate U+DC80 + n, as Python's surrogateescape reads it:
   our own reader gets the byte back, and others see one replacement character. */
static void put_character(const unsigned char *s, int length)
{
    if (length <= 0)
        put_escape(0xDC00U + *s);
    else if (length > 1)
        put((const char *)s, (size_t)length);
    else if (*s == '"' || *s == '\\')
        put((char[]){'\\', (char)*s}, 2);
    else if (*s == '\n')
        put("\\n", 2);
    else if (*s < 0x20 || *s == 0x7F)
        put_escape(*s);
    else
        put((const char *)s, 1);
}

static void put_json(int stream, const char *time, const char *line, size_t size)
{
    char tail[MAX_HEADER];
    int n = snprintf(tail, sizeof tail, "\",\"stream\":\"%s\",\"time\":\"%s\"}\n", stream_names[stream], time);

    reserve(8 + size * MAX_ESCAPE + (size_t)n);
    put("{\"log\":\"", 8);
    for (size_t i = 0; i < size;) {
        int length = utf8_length((const unsigned char *)line + i, size - i);
        put_character((const unsigned char *)line + i, length);
        i += length > 0 ? (size_t)length : 1;
    }
    put(tail, (size_t)n);
}

static void put_line(int stream, const char *time, const char *line, size_t size)
{
    /* A JSON record must fit in the room with every byte escaped. */
    enum { MAX_JSON_LINE = (ROOM - MAX_HEADER - 8) / MAX_ESCAPE - 4 };

    if (format == CRI) {
        put_cri(stream, time, line, size);
        return;
    }
    while (size > MAX_JSON_LINE) {
        size_t part = MAX_JSON_LINE;
        while (part > MAX_JSON_LINE - 4 && (line[part] & 0xC0) == 0x80)
            part--;
        put_json(stream, time, line, part);
        line += part;
        size -= part;
    }
    put_json(stream, time, line, size);
}

static void put_loss(void)
{
    char time[MAX_STAMP], text[MAX_HEADER];
    uint64_t lost = file.lost;

    file.lost = 0;
    stamp(time);
    int n = snprintf(text, sizeof text, "trimaran: %llu bytes of this log could not be written\n",
                     (unsigned long long)lost);
    put_line(2, time, text, (size_t)n);
    flush();
    file.lost = file.lost ? lost : 0;
}

/* How many bytes at the end are the beginning of a UTF-8 character. */
static size_t cut_off(const char *data, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const unsigned char *s = (const unsigned char *)data + size - back;
        if ((*s & 0xC0) == 0x80)
            continue;
        return utf8_length(s, back) < 0 ? back : 0;
    }
    return 0;
}

static void write_lines(int stream, const char *time, const char *data, size_t size)
{
    while (size) {
        const char *end = memchr(data, '\n', size);
        size_t line = end ? (size_t)(end - data) + 1 : size;
        put_line(stream, time, data, line);
        data += line;
        size -= line;
    }
}

/* Complete the character that the last write began; returns how many bytes of data that took. */
static size_t write_carried(int stream, const char *time, const char *data, size_t size)
{
    struct carry *carry = &carries[stream];
    size_t taken = 0;

    while (carry->count && taken < size && utf8_length((unsigned char *)carry->bytes, carry->count) < 0)
        carry->bytes[carry->count++] = data[taken++];
    if (carry->count && (size == 0 || utf8_length((unsigned char *)carry->bytes, carry->count) >= 0)) {
        put_line(stream, time, carry->bytes, carry->count);
        carry->count = 0;
    }
    return taken;
}

void log_write(int stream, const char *data, size_t size)
{
    char time[MAX_STAMP];
    size_t rest = 0;

    if (format == NONE)
        return;
    stamp(time);
    if (format == JSON) {
        size_t taken = write_carried(stream, time, data, size);
        data += taken;
        size -= taken;
        rest = size ? cut_off(data, size) : 0;
        if (rest) {
            memcpy(carries[stream].bytes, data + size - rest, rest);
            carries[stream].count = rest;
        }
    }
    write_lines(stream, time, data, size - rest);
    flush();
}

int log_open(const char *target, uint64_t size, uint64_t files)
{
    if (!strcmp(target, "none"))
        return 0;
    errno = EINVAL;
    if (strncmp(target, "cri:", 4) && strncmp(target, "json:", 5))
        return -1;
    file.path = strdup(strchr(target, ':') + 1);
    file.limit = size;
    file.files = files ? files : 1;
    if (!file.path || logfile_open(&file) < 0)
        return -1;
    format = *target == 'c' ? CRI : JSON;
    return 0;
}

int log_reopen(void)
{
    return format == NONE ? 0 : logfile_open(&file);
}

/* The end of the output: a character that was never completed is logged as the bytes that came. */
void log_close(void)
{
    for (int stream = 1; stream <= 2; stream++)
        if (carries[stream].count)
            log_write(stream, NULL, 0);
}
