/* trimaran-agent: first process of a microVM's guest. It does what the host asks over one byte stream:
 * mounts, files, modules, processes made from plans the host compiled. It decides nothing itself.
 *
 * The stream carries frames: struct frame, then `size` bytes. docs/internals/agent.md has the protocol. */
#ifndef TRIMARAN_AGENT_H
#define TRIMARAN_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PROTOCOL_VERSION = 1,
    MAX_FRAME = 4 << 20,    /* payload of a frame from the host: a plan, a file */
    MAX_DATA = 64 << 10,    /* payload of a data frame to the host, but for message channels */
    MAX_MESSAGE = 1100000,  /* one message of a message channel: FUSE's largest write is 1 MiB */
    WINDOW = 256 << 10,     /* bytes of a channel that may be under way without credit */
    MAX_ARGUMENTS = 8,
};

enum kind {
    FRAME_CALL = 1,   /* host: u16 operation, then arguments; the channel numbers the call */
    FRAME_REPLY = 2,  /* agent: i32 errno, then the result */
    FRAME_DATA = 3,
    FRAME_END = 4,    /* no more data on this channel from the sender */
    FRAME_CREDIT = 5, /* u32: so many bytes were consumed */
    FRAME_EXIT = 6,   /* agent: u32 wait status; the channel is the process's number */
    FRAME_READY = 7,  /* agent, once: u32 version */
};

struct frame {
    uint32_t size;
    uint16_t kind;
    uint16_t zero;
    uint32_t channel;
};

/* One argument of a call: not terminated by NUL except by the parser's courtesy (see call_parse). */
struct argument {
    char *data;
    uint32_t size;
};

struct call {
    uint32_t number;
    uint16_t operation;
    int count;
    struct argument arguments[MAX_ARGUMENTS];
};

/* What epoll reports on: the first member of everything that has descriptors. */
struct watched {
    void (*ready)(struct watched *self, uint32_t events);
};

/* link.c: frames to and from the host */
void link_open(const char *name, unsigned vsock_port);
void link_send(enum kind kind, uint32_t channel, const void *data, size_t size);
void link_reply(uint32_t call, int error, const void *data, size_t size);
bool link_congested(void);

/* main.c: the event loop */
void watch(int fd, struct watched *watched, uint32_t events);
void watch_change(int fd, struct watched *watched, uint32_t events);
void unwatch(int fd);
void *allocate(size_t size);
void die(const char *what) __attribute__((noreturn));

/* channel.c: descriptors joined to numbered channels */
int channel_reader(uint32_t id, int fd);  /* what fd yields goes to the host */
int channel_writer(uint32_t id, int fd);  /* what the host sends goes to fd */
int channel_message(uint32_t id, int fd); /* both ways, whole messages, no credit */
bool channel_busy(uint32_t id);           /* a reader that has not sent its end yet */
void channel_data(uint32_t id, const char *data, size_t size);
void channel_end(uint32_t id);
void channel_credit(uint32_t id, uint32_t bytes);
void channels_resume(void);

/* process.c: processes made from plans */
int process_create(const struct call *call, char *result, size_t *size); /* -1: answered later */
int process_start(uint32_t id, uint32_t call);
int process_signal(uint32_t id, int signal);
int process_resize(uint32_t id, int rows, int columns);
void processes_reap(void);

/* calls.c */
bool call_parse(struct call *call, char *data, size_t size);
void call_run(const struct call *call);

/* modules.c */
int module_load(const char *name);
void modules_boot(void);

#endif
