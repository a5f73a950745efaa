/* Frames over the byte stream to the host: a virtio console port of a given name, else vsock. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
/* Needs the definitions of sys/socket.h. */
#include <linux/vm_sockets.h>

#define PORT_DIRECTORY "/sys/class/virtio-ports"

enum { OUTPUT_LIMIT = 1 << 20, INPUT_SIZE = 64 << 10, WAIT_MS = 10000, STEP_MS = 2 };

static void link_ready(struct watched *self, uint32_t events);

static struct {
    struct watched watched;
    int fd;
    struct frame header;
    size_t have; /* bytes of the header and the payload read so far */
    char *payload;
    char *output;
    size_t output_size, output_capacity;
    bool waiting; /* for the port to take more */
} stream = {.watched = {link_ready}, .fd = -1};

static bool port_matches(const char *entry, const char *wanted)
{
    char path[300], name[64] = "";

    snprintf(path, sizeof path, PORT_DIRECTORY "/%s/name", entry);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, name, sizeof name - 1);
    close(fd);
    name[strcspn(name, "\n")] = 0;
    return n > 0 && !strcmp(name, wanted);
}

static int open_port(const char *name)
{
    char path[300];
    int fd = -1;
    DIR *directory = opendir(PORT_DIRECTORY);

    if (!directory)
        return -1;
    for (struct dirent *entry; fd < 0 && (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && port_matches(entry->d_name, name)) {
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        }
    closedir(directory);
    return fd;
}

static int open_vsock(unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* A port hangs up until a control message has said that the host is there. */
static bool connected(void)
{
    struct pollfd poll_fd = {.fd = stream.fd, .events = POLLIN | POLLOUT};

    return poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & POLLHUP);
}

/* A port's name arrives by a control message after its driver is loaded: wait for it, but not for ever. */
void link_open(const char *name, unsigned vsock_port)
{
    for (int waited = 0; waited < WAIT_MS; waited += STEP_MS) {
        if (stream.fd < 0)
            stream.fd = open_port(name);
        if (stream.fd < 0)
            stream.fd = open_vsock(vsock_port);
        if (stream.fd >= 0 && connected())
            break;
        usleep(STEP_MS * 1000);
    }
    if (stream.fd < 0 || !connected())
        die("no channel to the host");
    watch(stream.fd, &stream.watched, EPOLLIN);
}

static void flush_output(void)
{
    size_t done = 0;

    while (done < stream.output_size) {
        ssize_t n = write(stream.fd, stream.output + done, stream.output_size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    memmove(stream.output, stream.output + done, stream.output_size - done);
    stream.output_size -= done;
    bool wait = stream.output_size > 0;
    if (wait != stream.waiting) {
        stream.waiting = wait;
        watch_change(stream.fd, &stream.watched, EPOLLIN | (wait ? EPOLLOUT : 0));
    }
}

static void append(const void *data, size_t size)
{
    if (!size)
        return;
    if (stream.output_size + size > stream.output_capacity) {
        stream.output_capacity = (stream.output_size + size) * 2;
        char *grown = realloc(stream.output, stream.output_capacity);
        if (!grown)
            die("out of memory");
        stream.output = grown;
    }
    memcpy(stream.output + stream.output_size, data, size);
    stream.output_size += size;
}

static void append_header(enum kind kind, uint32_t channel, size_t size)
{
    struct frame frame = {.size = (uint32_t)size, .kind = (uint16_t)kind, .channel = channel};

    append(&frame, sizeof frame);
}

void link_send(enum kind kind, uint32_t channel, const void *data, size_t size)
{
    append_header(kind, channel, size);
    append(data, size);
    flush_output();
}

void link_reply(uint32_t call, int error, const void *data, size_t size)
{
    int32_t code = error;

    append_header(FRAME_REPLY, call, sizeof code + size);
    append(&code, sizeof code);
    append(data, size);
    flush_output();
}

/* Whether the host reads too slowly for more output to be taken from processes. */
bool link_congested(void)
{
    return stream.output_size > OUTPUT_LIMIT;
}

static void handle(void)
{
    struct call call;
    uint32_t credit;

    switch (stream.header.kind) {
    case FRAME_CALL:
        call.number = stream.header.channel;
        if (call_parse(&call, stream.payload, stream.header.size))
            call_run(&call);
        else
            link_reply(call.number, EBADMSG, NULL, 0);
        break;
    case FRAME_DATA:
        channel_data(stream.header.channel, stream.payload, stream.header.size);
        break;
    case FRAME_END:
        channel_end(stream.header.channel);
        break;
    case FRAME_CREDIT:
        if (stream.header.size != sizeof credit)
            break;
        memcpy(&credit, stream.payload, sizeof credit);
        channel_credit(stream.header.channel, credit);
        break;
    default:
        errno = EPROTO;
        die("the host sent an unknown frame");
    }
}

/* Takes what belongs to the frame under way from DATA; returns how many bytes. */
static size_t take(const char *data, size_t size)
{
    size_t used = 0;

    if (stream.have < sizeof stream.header) {
        size_t part = sizeof stream.header - stream.have;
        part = part < size ? part : size;
        memcpy((char *)&stream.header + stream.have, data, part);
        stream.have += part;
        used = part;
        if (stream.have < sizeof stream.header)
            return used;
        if (stream.header.size > MAX_FRAME) {
            errno = EMSGSIZE;
            die("the host sent too large a frame");
        }
        stream.payload = allocate(stream.header.size + 1);
    }
    size_t got = stream.have - sizeof stream.header;
    size_t part = stream.header.size - got;
    part = part < size - used ? part : size - used;
    memcpy(stream.payload + got, data + used, part);
    stream.have += part;
    if (got + part == stream.header.size) {
        stream.have = 0;
        handle();
        free(stream.payload);
        stream.payload = NULL;
    }
    return used + part;
}

static void link_ready(struct watched *self, uint32_t events)
{
    static char input[INPUT_SIZE];

    (void)self;
    if (events & EPOLLOUT) {
        flush_output();
        if (!link_congested())
            channels_resume();
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = read(stream.fd, input, sizeof input);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("the host has left");
    for (ssize_t used = 0; used < n;)
        used += (ssize_t)take(input + used, (size_t)(n - used));
}
