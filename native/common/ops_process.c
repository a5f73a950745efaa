/* Operations on the new process itself: namespaces, identity, limits, confinement. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* slot, type */
int op_setns(struct run *run, const struct operation *op)
{
    return setns(slot_fd(run, &op->args[0]), (int)op->args[1].number) < 0 ? fail(run, "setns", "") : 0;
}

int op_unshare(struct run *run, const struct operation *op)
{
    return unshare((int)op->args[0].number) < 0 ? fail(run, "unshare", "") : 0;
}

int op_session(struct run *run, const struct operation *op)
{
    (void)op;
    return setsid() < 0 ? fail(run, "setsid", "") : 0;
}

/* name: a session keyring of the container's own, keyctl(2) */
int op_keyring(struct run *run, const struct operation *op)
{
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op->args[0].string) < 0 && errno != ENOSYS
               ? fail(run, "keyctl", op->args[0].string) : 0;
}

/* A new network namespace has a loopback device, but it is down. netdevice(7) */
int op_loopback(struct run *run, const struct operation *op)
{
    struct ifreq request = {.ifr_name = "lo"};
    (void)op;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(run, "socket", "lo");
    int result = ioctl(fd, SIOCGIFFLAGS, &request);
    if (result == 0) {
        request.ifr_flags |= IFF_UP;
        result = ioctl(fd, SIOCSIFFLAGS, &request);
    }
    if (result < 0)
        fail(run, "ioctl", "lo");
    close(fd);
    return result < 0 ? -1 : 0;
}

int op_hostname(struct run *run, const struct operation *op)
{
    return sethostname(op->args[0].string, op->args[0].number) < 0 ? fail(run, "sethostname", op->args[0].string) : 0;
}

int op_domainname(struct run *run, const struct operation *op)
{
    return setdomainname(op->args[0].string, op->args[0].number) < 0 ? fail(run, "setdomainname", op->args[0].string)
                                                                       : 0;
}

/* resource, soft, hard */
int op_rlimit(struct run *run, const struct operation *op)
{
    char name[32];
    struct rlimit limit = {op->args[1].number, op->args[2].number};
    if (setrlimit((int)op->args[0].number, &limit) == 0)
        return 0;
    snprintf(name, sizeof name, "resource %d", (int)op->args[0].number);
    return fail(run, "setrlimit", name);
}

int op_umask(struct run *run, const struct operation *op)
{
    run->umask = (mode_t)op->args[0].number;
    return 0;
}

/* uid, gid: so that /dev/stdout can be opened by its user. What cannot be owned (a read-only file, a host
 * file outside the user namespace's map) stays as it is; the null device is everybody's. */
int op_stdio_owner(struct run *run, const struct operation *op)
{
    struct stat status;
    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &status) < 0)
            continue;
        if (status.st_uid == op->args[0].number || (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)))
            continue;
        if (fchown(fd, (uid_t)op->args[0].number, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS)
            return fail(run, "fchown", "stdio");
    }
    return 0;
}

/* path, in which no descriptor may stand for a directory (/proc/self/fd/N). Done once: a plan has it before the change of user, for directories only root may enter, and after.
 * The kernel names a directory outside the root "(unreachable)": it must not become the working directory. */
int op_cwd(struct run *run, const struct operation *op)
{
    char now[PATH_MAX];
    if (run->cwd_done)
        return 0;
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, op->args[0].string, &how, sizeof how);
    if (fd < 0)
        return fail(run, "chdir", op->args[0].string);
    int changed = fchdir(fd);
    close(fd);
    if (changed < 0)
        return fail(run, "chdir", op->args[0].string);
    if (syscall(SYS_getcwd, now, sizeof now) < 0)
        return fail(run, "getcwd", op->args[0].string);
    if (now[0] != '/')
        return fail_with(run, EXDEV, "working-directory", op->args[0].string);
    run->cwd_done = true;
    return 0;
}

/* mask of what may stay */
int op_bounding(struct run *run, const struct operation *op)
{
    for (unsigned long capability = 0; capability < 64; capability++) {
        if (op->args[0].number >> capability & 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return errno == EINVAL ? 0 : fail(run, "prctl bounding set", "");
    }
    return 0;
}

int op_root_user(struct run *run, const struct operation *op)
{
    (void)op;
    if (syscall(SYS_setresgid, 0, 0, 0) < 0)
        return fail(run, "setresgid", "0");
    return syscall(SYS_setresuid, 0, 0, 0) < 0 ? fail(run, "setresuid", "0") : 0;
}

/* uid, gid, supplementary groups (u32 each); permitted capabilities are kept for op_capabilities to reduce */
int op_credentials(struct run *run, const struct operation *op)
{
    char number[24];
    uid_t uid = (uid_t)op->args[0].number;
    gid_t gid = (gid_t)op->args[1].number;
    size_t groups = op->args[2].number / sizeof(gid_t);

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fail(run, "prctl-keepcaps", "");
    if (syscall(SYS_setgroups, groups, op->args[2].bytes) < 0 && (groups || errno != EPERM))
        return fail(run, "setgroups", "");
    snprintf(number, sizeof number, "%u", gid);
    if (syscall(SYS_setresgid, gid, gid, gid) < 0)
        return fail(run, "setresgid", number);
    snprintf(number, sizeof number, "%u", uid);
    if (syscall(SYS_setresuid, uid, uid, uid) < 0)
        return fail(run, "setresuid", number);
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ? fail(run, "prctl-keepcaps", "") : 0;
}

/* effective, permitted, inheritable, ambient */
int op_capabilities(struct run *run, const struct operation *op)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++)
        data[i] = (struct __user_cap_data_struct){
            .effective = (uint32_t)(op->args[0].number >> (32 * i)),
            .permitted = (uint32_t)(op->args[1].number >> (32 * i)),
            .inheritable = (uint32_t)(op->args[2].number >> (32 * i)),
        };
    if (syscall(SYS_capset, &header, data) < 0)
        return fail(run, "capset", "");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fail(run, "prctl-ambient", "");
    for (unsigned long capability = 0; capability < 64; capability++)
        if (op->args[3].number >> capability & 1 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            return fail(run, "prctl-ambient", "");
    return 0;
}

int op_no_new_privs(struct run *run, const struct operation *op)
{
    (void)op;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(run, "prctl no_new_privs", "") : 0;
}

int op_dumpable(struct run *run, const struct operation *op)
{
    return prctl(PR_SET_DUMPABLE, op->args[0].number, 0, 0, 0) < 0 ? fail(run, "prctl-dumpable", "") : 0;
}

static int send_listener(struct run *run, int socket, int listener, const char *state, size_t length)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec text = {(void *)state, length};
    struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &listener, sizeof listener);
    return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? fail(run, "sendmsg", "seccomp listener") : 0;
}

/* filter, flags, slot of the socket that gets the listener, what is said with it. seccomp(2) */
int op_seccomp(struct run *run, const struct operation *op)
{
    struct sock_fprog program = {
        .len = (unsigned short)(op->args[0].number / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)op->args[0].bytes,
    };
    struct sock_filter *aligned = NULL;
    if ((uintptr_t)program.filter % _Alignof(struct sock_filter)) {
        aligned = malloc(op->args[0].number);
        if (!aligned)
            return fail(run, "malloc", "seccomp");
        program.filter = memcpy(aligned, op->args[0].bytes, op->args[0].number);
    }
    uint64_t flags = op->args[1].number;
    bool notify = op->args[2].number != PLAN_NO_SLOT;
    int result = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | (notify ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0),
                              &program);
    free(aligned);
    if (result < 0)
        return fail(run, "seccomp", "");
    if (!notify)
        return 0;
    int sent = send_listener(run, slot_fd(run, &op->args[2]), result, op->args[3].string, op->args[3].number);
    close(result);
    return sent;
}

int op_personality(struct run *run, const struct operation *op)
{
    return personality(op->args[0].number) < 0 ? fail(run, "personality", "") : 0;
}

/* struct sched_attr */
int op_scheduler(struct run *run, const struct operation *op)
{
    return syscall(SYS_sched_setattr, 0, op->args[0].bytes, 0) < 0 ? fail(run, "sched_setattr", "") : 0;
}

/* class and priority as ioprio_set(2) takes them */
int op_ioprio(struct run *run, const struct operation *op)
{
    enum { IOPRIO_WHO_PROCESS = 1 };
    return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, op->args[0].number) < 0 ? fail(run, "ioprio_set", "") : 0;
}

/* mode with its flags, mask of nodes. set_mempolicy(2) */
int op_memory_policy(struct run *run, const struct operation *op)
{
    unsigned long bits = op->args[1].number * 8;
    return syscall(SYS_set_mempolicy, op->args[0].number, bits ? op->args[1].bytes : NULL, bits ? bits + 1 : 0) < 0
               ? fail(run, "set_mempolicy", "") : 0;
}

/* CPU mask */
int op_affinity(struct run *run, const struct operation *op)
{
    return syscall(SYS_sched_setaffinity, 0, op->args[0].number, op->args[0].bytes) < 0 ? fail(run, "sched_setaffinity", "")
                                                                                       : 0;
}
