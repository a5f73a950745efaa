/* Channels: a number that the host chose, joined to a descriptor. Data flows under credit. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct channel {
    struct watched watched;
    struct channel *next;
    uint32_t id;
    int fd;
    bool reads;   /* from fd to the host */
    bool message; /* whole messages both ways */
    bool ending;  /* a writer whose sender has ended: close when the buffer is empty */
    uint32_t events;
    uint32_t credit; /* of a reader: bytes that may still be sent */
    char *buffer;    /* of a writer: what fd has not taken yet */
    size_t size;
};

static struct channel *channels;

static struct channel *find(uint32_t id)
{
    struct channel *channel = channels;

    while (channel && channel->id != id)
        channel = channel->next;
    return channel;
}

static void set_events(struct channel *channel, uint32_t events)
{
    if (events == channel->events)
        return;
    channel->events = events;
    watch_change(channel->fd, &channel->watched, events);
}

static void drop(struct channel *channel)
{
    for (struct channel **link = &channels; *link; link = &(*link)->next)
        if (*link == channel) {
            *link = channel->next;
            break;
        }
    unwatch(channel->fd);
    close(channel->fd);
    free(channel->buffer);
    free(channel);
}

/* Sends what fd has, as far as credit goes; without credit, the descriptor is no longer watched. */
static void pump_reader(struct channel *channel)
{
    static char data[MAX_DATA];
    size_t limit = channel->credit < sizeof data ? channel->credit : sizeof data;

    if (!limit || link_congested()) {
        set_events(channel, 0);
        return;
    }
    ssize_t n = read(channel->fd, data, limit);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* a terminal's master fails with EIO when the last process has closed it */
        link_send(FRAME_END, channel->id, NULL, 0);
        drop(channel);
        return;
    }
    channel->credit -= (uint32_t)n;
    link_send(FRAME_DATA, channel->id, data, (size_t)n);
}

static void pump_message(struct channel *channel)
{
    static char message[MAX_MESSAGE];
    ssize_t n = read(channel->fd, message, sizeof message);

    if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT))
        return;
    if (n <= 0) {
        link_send(FRAME_END, channel->id, NULL, 0);
        drop(channel);
        return;
    }
    link_send(FRAME_DATA, channel->id, message, (size_t)n);
}

/* Gives fd what is buffered for it, and the host credit for what fd took. */
static void pump_writer(struct channel *channel)
{
    size_t done = 0;

    while (done < channel->size) {
        ssize_t n = write(channel->fd, channel->buffer + done, channel->size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) { /* no one will read it: swallow, so that the host is not held up */
            done = channel->size;
            break;
        }
        done += (size_t)n;
    }
    memmove(channel->buffer, channel->buffer + done, channel->size - done);
    channel->size -= done;
    if (done) {
        uint32_t credit = (uint32_t)done;
        link_send(FRAME_CREDIT, channel->id, &credit, sizeof credit);
    }
    if (channel->ending && !channel->size)
        drop(channel);
    else
        set_events(channel, channel->size ? EPOLLOUT : 0);
}

static void channel_ready(struct watched *self, uint32_t events)
{
    struct channel *channel = (struct channel *)self;

    if (channel->message)
        pump_message(channel);
    else if (channel->reads)
        pump_reader(channel);
    else if (events & EPOLLOUT)
        pump_writer(channel);
    else if (!channel->size) /* the reader's end is gone; later data is refused by write */
        unwatch(channel->fd);
}

static int add(uint32_t id, int fd, bool reads, bool message)
{
    if (!id || find(id))
        return EEXIST;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    struct channel *channel = allocate(sizeof *channel);
    *channel = (struct channel){
        .watched = {channel_ready}, .next = channels, .id = id, .fd = fd, .reads = reads, .message = message,
        .events = reads || message ? EPOLLIN : 0, .credit = WINDOW,
    };
    if (!reads && !message)
        channel->buffer = allocate(WINDOW);
    channels = channel;
    watch(fd, &channel->watched, channel->events);
    return 0;
}

/* Each takes the descriptor over, and returns 0 or EEXIST for a number that is in use. */
int channel_reader(uint32_t id, int fd)
{
    return add(id, fd, true, false);
}

int channel_writer(uint32_t id, int fd)
{
    return add(id, fd, false, false);
}

int channel_message(uint32_t id, int fd)
{
    return add(id, fd, false, true);
}

bool channel_busy(uint32_t id)
{
    return find(id) != NULL;
}

void channel_data(uint32_t id, const char *data, size_t size)
{
    struct channel *channel = find(id);

    if (!channel || channel->reads) /* ended meanwhile: the host did not know yet */
        return;
    if (channel->message) {
        /* ENOENT: the request was interrupted and nobody waits for the answer. */
        if (write(channel->fd, data, size) < 0 && errno != ENOENT && errno != EINVAL)
            drop(channel);
        return;
    }
    if (size > WINDOW - channel->size) {
        errno = ENOBUFS;
        die("the host sent more than it has credit for");
    }
    memcpy(channel->buffer + channel->size, data, size);
    channel->size += size;
    pump_writer(channel);
}

void channel_end(uint32_t id)
{
    struct channel *channel = find(id);

    if (!channel)
        return;
    if (channel->reads || channel->message || !channel->size)
        drop(channel);
    else
        channel->ending = true;
}

void channel_credit(uint32_t id, uint32_t bytes)
{
    struct channel *channel = find(id);

    if (!channel || !channel->reads)
        return;
    channel->credit = bytes > WINDOW - channel->credit ? WINDOW : channel->credit + bytes;
    set_events(channel, EPOLLIN);
}

/* The link has room again. */
void channels_resume(void)
{
    for (struct channel *channel = channels; channel; channel = channel->next)
        if (channel->reads && channel->credit)
            set_events(channel, EPOLLIN);
}
