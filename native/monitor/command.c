/* The commands of the control socket: one packet each, answered `ok` or `refused ERRNO`. */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 5, ANSWERED = 1 };

struct command {
    const char *name;
    int arguments; /* at least */
    int (*run)(struct client *client, char **arguments);
};

static int attach(struct client *client, char **arguments)
{
    static const char *const streams[] = {"stdin", "stdout", "stderr"};

    for (; *arguments; arguments++) {
        bool known = !strcmp(*arguments, "block");
        client->block |= known;
        for (int i = 0; i < 3; i++)
            if (!strcmp(*arguments, streams[i]))
                client->attached[i] = known = true;
        if (!known) {
            errno = EINVAL;
            return -1;
        }
    }
    return 0;
}

static int detach(struct client *client, char **arguments)
{
    (void)arguments;
    memset(client->attached, 0, sizeof client->attached);
    return 0;
}

static int start(struct client *client, char **arguments)
{
    (void)client;
    (void)arguments;
    return peer_begin();
}

static int number(const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text >= '0' && *text <= '9' && !*end && value <= most)
        return (int)value;
    errno = EINVAL;
    return -1;
}

static int resize(struct client *client, char **arguments)
{
    int rows = number(arguments[0], 0xFFFF), columns = number(arguments[1], 0xFFFF);

    (void)client;
    if (rows < 0 || columns < 0)
        return -1;
    streams_resize((unsigned)rows, (unsigned)columns);
    peer_resize((unsigned)rows, (unsigned)columns);
    return 0;
}

static int send_signal(struct client *client, char **arguments)
{
    int signal = number(arguments[0], 64);

    (void)client;
    return signal < 0 ? -1 : peer_signal(signal);
}

static int reopen_logs(struct client *client, char **arguments)
{
    (void)client;
    (void)arguments;
    return log_reopen();
}

static int close_stdin(struct client *client, char **arguments)
{
    (void)arguments;
    if (client->attached[0])
        input_close();
    return 0;
}

static int status(struct client *client, char **arguments)
{
    (void)arguments;
    return send_text(client->source.fd, "status %s %d", phase(), (int)peer.pid) < 0 ? -1 : ANSWERED;
}

static const struct command commands[] = {
    {"attach", 1, attach},           {"detach", 0, detach},
    {"start", 0, start},             {"resize", 2, resize},
    {"signal", 1, send_signal},      {"reopen-logs", 0, reopen_logs},
    {"close-stdin", 0, close_stdin}, {"status", 0, status},
};

static int run(struct client *client, char *text)
{
    char *words[MAX_ARGUMENTS + 1] = {0}, *rest = text;
    int count = 0;

    while (count < MAX_ARGUMENTS && (words[count] = strsep(&rest, " ")))
        count++;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, words[0]) && count > commands[i].arguments)
            return commands[i].run(client, words + 1);
    errno = EINVAL;
    return -1;
}

void command_run(struct client *client, char *text)
{
    int result = run(client, text);

    if (result < 0)
        send_text(client->source.fd, "refused %d", errno);
    else if (result != ANSWERED)
        send_text(client->source.fd, "ok");
}
