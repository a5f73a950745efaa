/* Those connected to the control socket: what they are sent, and when they cannot take it. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CLIENTS = 64, BACKLOG = 64 };

static struct source listener = {.fd = -1};
static struct client clients[MAX_CLIENTS];
/* The packet that clients with `owed` have not taken yet; the output stands still until they have. */
static char owed_packet[1 + CHUNK];
static size_t owed_size;

static void client_ready(struct source *source, uint32_t events);

#define FOR_EACH_CLIENT(c) \
    for (struct client *c = clients; c < clients + MAX_CLIENTS; c++) \
        if (c->source.fd > 0)

static void listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && clients_add(fd) < 0) {
        send_text(fd, "refused %d", errno);
        close(fd);
    }
}

/* The socket appears in the state directory, which is the working directory while it is made. */
int clients_listen(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "control"};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || fchdir(STATE_FD) < 0)
        return -1;
    unlink(address.sun_path);
    mode_t mask = umask(0177);
    int result = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (result < 0 || chdir("/") < 0 || listen(fd, BACKLOG) < 0)
        return -1;
    return loop_add(&listener, fd, EPOLLIN, listener_ready);
}

int clients_add(int fd)
{
    for (struct client *c = clients; c < clients + MAX_CLIENTS; c++)
        if (c->source.fd <= 0) {
            *c = (struct client){0};
            return loop_add(&c->source, fd, EPOLLIN | EPOLLRDHUP, client_ready);
        }
    errno = EMFILE;
    return -1;
}

static bool anyone_owed(void)
{
    FOR_EACH_CLIENT(c)
        if (c->owed)
            return true;
    return false;
}

static void resume_output(void)
{
    if (!owed_size || anyone_owed())
        return;
    owed_size = 0;
    streams_pause(false);
}

static void want(struct client *client)
{
    uint32_t reading = client->attached[0] && input_busy() ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP;
    loop_want(&client->source, reading | (client->pending || client->owed || client->dropped ? EPOLLOUT : 0));
}

static void client_remove(struct client *client)
{
    loop_remove(&client->source);
    client->owed = false;
    resume_output();
    if (client->attached[0] && launched->input == INPUT_ONCE)
        input_close();
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == ENOBUFS;
}

/* What a client has missed is said before it is sent anything more. */
static bool send_dropped(struct client *client)
{
    if (client->dropped && send_text(client->source.fd, "dropped %llu", (unsigned long long)client->dropped) < 0)
        return false;
    client->dropped = 0;
    return true;
}

static void client_output(struct client *client, const char *packet, size_t size)
{
    if (send_dropped(client) && send(client->source.fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return;
    if (!would_block()) {
        client_remove(client);
        return;
    }
    if (!client->block) {
        client->dropped += size - 1;
    } else if (!client->owed) {
        client->owed = true;
        memcpy(owed_packet, packet, size);
        owed_size = size;
        streams_pause(true);
    }
    want(client);
}

void clients_output(const char *packet, size_t size)
{
    FOR_EACH_CLIENT(c)
        if (c->attached[(int)packet[0]])
            client_output(c, packet, size);
}

/* Send what is due, in order: the packet owed, the count of what was dropped, the events. */
static void client_flush(struct client *client)
{
    char text[MAX_TEXT];

    if (client->owed) {
        if (send(client->source.fd, owed_packet, owed_size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return;
        client->owed = false;
        resume_output();
    }
    if (!send_dropped(client))
        return;
    for (uint32_t event = EVENT_STARTED; event <= EVENT_EXITED; event <<= 1) {
        if (!(client->pending & event))
            continue;
        event_text((enum event)event, text, sizeof text);
        if (send_text(client->source.fd, "%s", text) < 0)
            return;
        client->pending &= ~event;
    }
}

void clients_event(enum event event)
{
    FOR_EACH_CLIENT(c)
    {
        c->pending |= event;
        client_flush(c);
        want(c);
    }
}

void clients_input_ready(void)
{
    FOR_EACH_CLIENT(c)
        want(c);
}

static void client_read(struct client *client)
{
    static char packet[CHUNK + 2];
    ssize_t n = receive(client->source.fd, packet, sizeof packet, NULL);

    if (n < 0 && (would_block() || errno == EINTR))
        return;
    if (n <= 0) {
        client_remove(client);
        return;
    }
    if (*packet == 0) {
        if (client->attached[0])
            input_write(packet + 1, (size_t)n - 1);
    } else {
        command_run(client, packet);
    }
}

static void client_ready(struct source *source, uint32_t events)
{
    struct client *client = (struct client *)source;

    if (events & EPOLLOUT)
        client_flush(client);
    if (events & EPOLLIN && !(client->attached[0] && input_busy()))
        client_read(client);
    else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        client_remove(client);
    if (source->fd > 0)
        want(client);
}

void clients_close_listener(void)
{
    loop_remove(&listener);
}

/* Whether everyone has what is due; a client that has gone is owed nothing. */
bool clients_settled(void)
{
    FOR_EACH_CLIENT(c)
        if (c->pending || c->owed || c->dropped)
            return false;
    return true;
}
