/* The process's output: from its pipes or terminal to the log, then to the clients. And its input. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* What a terminal's buffers may still hold after its last process is gone arrives within this time. */
enum { TERMINAL_SETTLE_MS = 50 };

static struct source outputs[3] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
static struct source input = {.fd = -1};
static bool terminal, paused;
static unsigned rows, columns;
/* A packet to the clients: the stream's number, then its data. */
static char packet[1 + CHUNK];
static char waiting[CHUNK];
static size_t waiting_from, waiting_to;
static bool close_when_written;

static void output_ready(struct source *source, uint32_t events);
static void input_writable(struct source *source, uint32_t events);

static int nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int open_pipe(int stream, struct child_stdio *child)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    int ours = stream ? ends[0] : ends[1];
    child->fds[stream] = stream ? ends[1] : ends[0];
    if (nonblocking(ours) < 0)
        return -1;
    if (stream)
        return loop_add(&outputs[stream], ours, EPOLLIN, output_ready);
    return loop_add(&input, ours, 0, input_writable);
}

/* The child's ends, to be closed by the caller once the child has them; -1 where the child has its own way. */
int streams_open(const struct launch *launch, struct child_stdio *child)
{
    rows = (unsigned)launch->rows;
    columns = (unsigned)launch->columns;
    for (int i = 0; i < 3; i++)
        child->fds[i] = launch->stdio == STDIO_PASS ? i : -1;
    if (launch->stdio == STDIO_PASS || launch->stdio == STDIO_TERMINAL)
        return 0;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (null < 0)
        return -1;
    for (int i = 0; i < 3; i++)
        child->fds[i] = null;
    if (launch->stdio == STDIO_NULL)
        return 0;
    if (launch->input != INPUT_CLOSED && open_pipe(0, child) < 0)
        return -1;
    return open_pipe(1, child) < 0 || open_pipe(2, child) < 0 ? -1 : 0;
}

void streams_resize(unsigned new_rows, unsigned new_columns)
{
    struct winsize size = {.ws_row = (unsigned short)new_rows, .ws_col = (unsigned short)new_columns};

    rows = new_rows;
    columns = new_columns;
    if (terminal && rows && columns)
        ioctl(outputs[1].fd, TIOCSWINSZ, &size);
}

/* The master of the process's terminal has come. */
int streams_console(int fd)
{
    if (terminal || nonblocking(fd) < 0) {
        close(fd);
        return -1;
    }
    terminal = true;
    int writing = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (writing < 0 || loop_add(&outputs[1], fd, EPOLLIN, output_ready) < 0)
        return -1;
    streams_resize(rows, columns);
    return loop_add(&input, writing, 0, input_writable);
}

bool streams_open_yet(void)
{
    return outputs[1].fd >= 0 || outputs[2].fd >= 0;
}

/* A client that must not miss anything holds the process's output back until it has read. */
void streams_pause(bool pause)
{
    paused = pause;
    for (int stream = 1; stream <= 2; stream++)
        loop_want(&outputs[stream], paused ? 0 : EPOLLIN);
}

/* Read once. False if there is nothing (more) to read now. */
static bool pump(int stream)
{
    ssize_t n = read(outputs[stream].fd, packet + 1, CHUNK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (n <= 0) {
        loop_remove(&outputs[stream]);
        if (terminal)
            loop_remove(&input);
        return false;
    }
    packet[0] = (char)stream;
    log_write(stream, packet + 1, (size_t)n);
    clients_output(packet, 1 + (size_t)n);
    return true;
}

static void output_ready(struct source *source, uint32_t events)
{
    (void)events;
    pump(source == &outputs[1] ? 1 : 2);
}

static bool more_from_terminal(void)
{
    struct pollfd console = {.fd = outputs[1].fd, .events = POLLIN};

    return terminal && outputs[1].fd >= 0 && poll(&console, 1, TERMINAL_SETTLE_MS) > 0;
}

/* After the process has ended: what it wrote is all in the pipes. False while a client holds us back. */
bool streams_drain(void)
{
    for (int stream = 1; stream <= 2; stream++)
        while (outputs[stream].fd >= 0) {
            if (paused)
                return false;
            if (!pump(stream) && !more_from_terminal())
                break;
        }
    return true;
}

static void input_writable(struct source *source, uint32_t events)
{
    (void)events;
    while (waiting_from < waiting_to) {
        ssize_t n = write(source->fd, waiting + waiting_from, waiting_to - waiting_from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            loop_want(source, EPOLLOUT);
            return;
        }
        if (n < 0) {
            waiting_to = 0;
            loop_remove(source);
            break;
        }
        waiting_from += (size_t)n;
    }
    loop_want(source, 0);
    if (close_when_written && !terminal)
        loop_remove(source);
    clients_input_ready();
}

/* Whether earlier input still waits; until it does no longer, none may be given. */
bool input_busy(void)
{
    return input.fd >= 0 && waiting_from < waiting_to;
}

void input_write(const char *data, size_t size)
{
    if (input.fd < 0 || size > sizeof waiting)
        return;
    memcpy(waiting, data, size);
    waiting_from = 0;
    waiting_to = size;
    input_writable(&input, EPOLLOUT);
}

/* A terminal has no end of input of its own: who wants one types it. */
void input_close(void)
{
    close_when_written = true;
    if (!input_busy() && !terminal)
        loop_remove(&input);
}
