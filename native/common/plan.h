/* A plan: the ordered operations that make a container, as compiled by trimaran.plan.
 *
 * Wire form (little endian): 8 bytes "TRMPLAN1", u32 length of the whole, u32 number of operations; then each
 * operation: u16 code, u16 flags, u32 length of its arguments, and these one after the other as its signature
 * in operations.def says: u (u64), d (u32 descriptor slot), s (u32 length, bytes, NUL), b (u32 length, bytes),
 * l (u32 count, then that many s).
 *
 * Sections: operations before `clone` run in the calling process, those from `clone` to `child` too, with the
 * new process waiting; those after `child` run in the new process, the last of which is `execve`.
 */
#ifndef TRIMARAN_PLAN_H
#define TRIMARAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PLAN_NO_SLOT 0xffffffffU /* "no descriptor": the path is the host's, from / */

enum {
    PLAN_SLOTS = 256,          /* descriptors a plan can name at a time */
    PLAN_MAX_SIZE = 4 << 20,   /* bytes */
    PLAN_MAX_OPERATIONS = 4096,
    PLAN_MAX_ARGUMENTS = 8,
    PLAN_MAX_LIST = 65536,
};

/* Flags of an operation. */
enum {
    PLAN_OPTIONAL = 1, /* a failure is not an error */
    PLAN_ALL_FLAGS = PLAN_OPTIONAL,
};

struct plan;

struct plan_error {
    int index;      /* of the operation; -1: the plan itself, or what surrounds it; -2: see plan_start */
    int error;      /* errno */
    char step[32];  /* the system call or check that failed */
    char path[512]; /* what it worked on; may be empty */
};

struct plan_inputs {
    int stdio[3]; /* what the process's descriptors 0 to 2 shall be; -1: leave as it is */
    int peer;     /* SOCK_SEQPACKET: the process's end of the peer protocol (docs/internals/monitor.md) */
    int listener; /* -1, or a listening socket: once ready, `start` comes from a connection to it */
    int preserve; /* how many descriptors from 3 on the process shall inherit */
    bool sibling; /* the process shall be a child of the caller's parent (CLONE_PARENT) */
};

/* Reads and checks a plan. 0, or -1 with *error filled in. */
int plan_load(struct plan **plan, int fd, struct plan_error *error);
int plan_parse(struct plan **plan, const uint8_t *bytes, size_t size, struct plan_error *error);
void plan_free(struct plan *plan);

/* Executes a plan up to the new process being on its own; returns its PID, and a pidfd if one is asked for.
 * -1 with *error filled in if the calling process's part failed; index -2 in it says that the new process
 * failed and has reported it on the peer socket. Failures after the return are reported there too. */
pid_t plan_start(struct plan *plan, const struct plan_inputs *inputs, int *pidfd, struct plan_error *error);

/* With inputs.sibling: a process that has exited and that the caller's parent must reap, or 0. */
pid_t plan_left(const struct plan *plan);

#endif
