/* trimaran-monitor: parent of one process of a container. See docs/internals/monitor.md for the protocol. */
#ifndef TRIMARAN_MONITOR_H
#define TRIMARAN_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { REPORT_FD = 4, STATE_FD = 5, FIRST_GIVEN_FD = 6 };
enum { CHUNK = 16 * 1024, MAX_TEXT = 4608 };

/* loop.c: one epoll set; a source is a descriptor and the function that is called when it is ready. */

struct source {
    int fd;
    uint32_t events;
    void (*ready)(struct source *source, uint32_t events);
};

int loop_open(void);
int loop_add(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t));
int loop_want(struct source *source, uint32_t events);
void loop_remove(struct source *source);
int loop_once(void);

/* launch.c: the launch record, checked. */

enum mode { MODE_PLAN, MODE_COMMAND, MODE_CONNECT };
enum stdio { STDIO_PIPES, STDIO_TERMINAL, STDIO_PASS, STDIO_NULL };
enum input { INPUT_OPEN, INPUT_ONCE, INPUT_CLOSED };
enum when { WHEN_NOW, WHEN_WAIT };
enum flag { FLAG_NO, FLAG_YES };

struct launch {
    char *id, *socket, *request, *log, *oom, *pid_file, *console_socket;
    char **args, **env, **cgroup_files;
    uint64_t mode, stdio, input, start, durable;
    uint64_t plan, client, lease, log_size, log_files, rows, columns;
};

int launch_read(struct launch *launch, int fd, const char **fault);

/* text.c: packets and files. */

int send_text(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
ssize_t receive(int fd, char *buffer, size_t size, int *passed);
int send_descriptors(int fd, const char *text, const int *fds, size_t count);
int write_all(int fd, const char *data, size_t size);
int write_file_at(int dir, const char *name, const char *text, bool durable);
ssize_t read_file(int dir, const char *name, char *buffer, size_t size);

/* log.c, logfile.c: the log of both streams; stream is 1 or 2. */

int log_open(const char *target, uint64_t size, uint64_t files);
void log_write(int stream, const char *data, size_t size);
int log_reopen(void);
void log_close(void);

struct logfile {
    char *path;
    int fd;
    uint64_t size, limit, files, lost;
};

int logfile_open(struct logfile *file);
size_t logfile_append(struct logfile *file, const char *data, size_t size);
int logfile_rotate(struct logfile *file);

/* streams.c: the output of the process, to the log and the clients; and its input. */

struct child_stdio {
    int fds[3];
};

int streams_open(const struct launch *launch, struct child_stdio *child);
int streams_console(int fd);
void streams_resize(unsigned rows, unsigned columns);
bool streams_drain(void);
bool streams_open_yet(void);
void streams_pause(bool paused);
bool input_busy(void);
void input_write(const char *data, size_t size);
void input_close(void);

/* clients.c, command.c: the control socket and those who are connected to it. */

enum event { EVENT_STARTED = 1, EVENT_OOM = 2, EVENT_FAILED = 4, EVENT_EXITED = 8 };

struct client {
    struct source source;
    bool attached[3], block, owed;
    uint32_t pending;
    uint64_t dropped;
};

int clients_listen(void);
int clients_add(int fd);
void clients_output(const char *packet, size_t size);
void clients_event(enum event event);
void clients_input_ready(void);
void clients_close_listener(void);
bool clients_settled(void);
void command_run(struct client *client, char *text);

/* peer.c, start.c, console.c: what creates the process. */

struct peer {
    struct source socket, process;
    pid_t pid, child; /* as the peer names it; as the monitor's own child */
    bool ready, start_sent, start_wanted, started;
};

extern struct peer peer;

int peer_start(const struct launch *launch, struct child_stdio *stdio);
int peer_begin(void);
int peer_signal(int number);
int peer_lease(pid_t holder);
void peer_resize(unsigned rows, unsigned columns);
void peer_on_packet(struct source *source, uint32_t events);
void peer_on_exit(struct source *source, uint32_t events);
void peer_on_command_exit(struct source *source, uint32_t events);
void peer_read_last_words(void);
void peer_reap_orphans(void);

int console_listen(const char *name);

/* oom.c */

void oom_watch(const char *path);
bool oom_happened(void);

/* monitor.c: what happened, told to everyone. */

extern const struct launch *launched;

void tell_created(pid_t pid);
void tell_started(void);
void tell_failed(const char *text);
void tell_oom(void);
void tell_exited(int code, int signal);
void event_text(enum event event, char *buffer, size_t size);
const char *phase(void);

#endif
