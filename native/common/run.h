/* What the executor's files share. */
#ifndef TRIMARAN_RUN_H
#define TRIMARAN_RUN_H

#include "plan.h"

struct value {
    uint64_t number;      /* u, d; the count of l; the length of s and b */
    const char *string;   /* s */
    const uint8_t *bytes; /* b */
    const char **list;    /* l, ended by NULL */
};

struct operation {
    uint16_t code, flags;
    struct value args[PLAN_MAX_ARGUMENTS];
};

struct plan {
    uint8_t *bytes;
    struct operation *operations;
    size_t count, clone_at, child_at;
    pid_t left;   /* what a fork operation left behind for the caller's parent to reap */
    bool adopted; /* a fork operation's process has been announced */
};

/* The state of one execution. */
struct run {
    struct plan *plan;
    struct plan_inputs inputs;
    struct plan_error error;
    int slots[PLAN_SLOTS];
    int sync;            /* socket between the two processes, for send, recv and fork */
    pid_t child;         /* in the calling process: the new one */
    int pidfd;
    int proc;            /* in the calling process: /proc/CHILD */
    const char *program; /* in the new process: what lookup found */
    const char *home;    /* in the new process: what HOME shall be, or NULL */
    mode_t umask;        /* in the new process: what its program shall have */
    bool cwd_done;
};

/* Each returns 0, or -1 after fail(). */
typedef int operation_function(struct run *run, const struct operation *op);

#define OPERATION(code, name, signature, sections) operation_function op_##name;
#include "operations.def"
#undef OPERATION

/* Note the failing step, errno and path for the report; always return -1. */
int fail(struct run *run, const char *step, const char *path);
int fail_with(struct run *run, int error, const char *step, const char *path);

void report_error(int peer, const struct plan_error *error);
pid_t clone_process(uint64_t flags, int cgroup, int *pidfd);

/* The descriptor in a slot (AT_FDCWD for none), and storing one there. */
int slot_fd(struct run *run, const struct value *slot);
int slot_set(struct run *run, const struct value *slot, int fd);

/* paths.c: everything below a root by descriptor; links are resolved inside the root. */
enum { IN_NO_LINKS = 1, IN_NO_MAGIC = 2 };
int open_in_root(int root, const char *path, uint64_t flags, unsigned how);
int make_directories(int root, const char *path, mode_t mode);
int make_target(int root, const char *path, bool file, unsigned how);
int open_parent(int root, const char *path, char *name, size_t size);
int write_whole(int fd, const char *text, size_t length);

#endif
