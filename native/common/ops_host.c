/* Operations on the host's files: descriptors, cgroups, the new process's /proc, helpers, sockets. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* slot, path, flags */
int op_open(struct run *run, const struct operation *op)
{
    const char *path = op->args[1].string;
    int fd = open(path, (int)op->args[2].number | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? fail(run, "open", path) : slot_set(run, &op->args[0], fd);
}

static bool climbs(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == 0 || at[2] == '/'))
            return true;
    return false;
}

static int make_host_directories(const char *path, mode_t mode)
{
    char prefix[4096];
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT || strlen(path) >= sizeof prefix)
        return -1;
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        memcpy(prefix, path, (size_t)(slash - path));
        prefix[slash - path] = 0;
        if (mkdir(prefix, mode) < 0 && errno != EEXIST)
            return -1;
    }
    return mkdir(path, mode) < 0 && errno != EEXIST ? -1 : 0;
}

/* root, path, mode */
int op_mkdirs(struct run *run, const struct operation *op)
{
    const char *path = op->args[1].string;
    mode_t mode = (mode_t)op->args[2].number;

    if (op->args[0].number == PLAN_NO_SLOT) {
        if (*path != '/' || climbs(path))
            return fail_with(run, EINVAL, "mkdir", path);
        return make_host_directories(path, mode) < 0 ? fail(run, "mkdir", path) : 0;
    }
    int fd = make_directories(slot_fd(run, &op->args[0]), path, mode);
    if (fd < 0)
        return fail(run, "mkdir", path);
    close(fd);
    return 0;
}

/* root, path, text */
int op_write(struct run *run, const struct operation *op)
{
    const char *path = op->args[1].string;
    int fd;

    if (op->args[0].number == PLAN_NO_SLOT) {
        if (*path != '/' || climbs(path))
            return fail_with(run, EINVAL, "write", path);
        fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    } else {
        fd = open_in_root(slot_fd(run, &op->args[0]), path, O_WRONLY | O_NOCTTY, 0);
    }
    if (fd < 0)
        return fail(run, "open", path);
    int result = write_whole(fd, op->args[2].string, op->args[2].number) < 0 ? fail(run, "write", path) : 0;
    close(fd);
    return result;
}

/* path, text; path and text for kernels that lack the first file */
int op_write_either(struct run *run, const struct operation *op)
{
    const struct value *path = &op->args[0];
    int fd = open(path->string, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) {
        path = &op->args[2];
        fd = open(path->string, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    }
    if (fd < 0)
        return fail(run, "open", path->string);
    int result = write_whole(fd, path[1].string, path[1].number) < 0 ? fail(run, "write", path->string) : 0;
    close(fd);
    return result;
}

/* slot, path of a unix stream socket */
int op_connect(struct run *run, const struct operation *op)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = op->args[1].string;

    if (op->args[1].number >= sizeof address.sun_path)
        return fail_with(run, ENAMETOOLONG, "connect", path);
    memcpy(address.sun_path, path, op->args[1].number);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(run, "socket", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return fail_with(run, error, "connect", path);
    }
    return slot_set(run, &op->args[0], fd);
}

/* cgroup directory, program: bpf(2) BPF_PROG_TYPE_CGROUP_DEVICE */
int op_cgroup_device(struct run *run, const struct operation *op)
{
    static const char license[] = "Apache-2.0";
    union bpf_attr load, attach;
    const char *path = op->args[0].string;

    memset(&load, 0, sizeof load);
    load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    load.insns = (uintptr_t)op->args[1].bytes;
    load.insn_cnt = (uint32_t)(op->args[1].number / sizeof(struct bpf_insn));
    load.license = (uintptr_t)license;
    int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (cgroup < 0)
        return fail(run, "open", path);
    int result = -1, program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    if (program < 0) {
        fail(run, "bpf-load", path);
    } else {
        memset(&attach, 0, sizeof attach);
        attach.target_fd = (uint32_t)cgroup;
        attach.attach_bpf_fd = (uint32_t)program;
        attach.attach_type = BPF_CGROUP_DEVICE;
        attach.attach_flags = BPF_F_ALLOW_MULTI;
        result = (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach);
        if (result < 0)
            fail(run, "bpf-attach", path);
        close(program);
    }
    close(cgroup);
    return result < 0 ? -1 : 0;
}

/* file below /proc/CHILD, text */
int op_proc_write(struct run *run, const struct operation *op)
{
    const char *name = op->args[0].string;
    int fd = openat(run->proc, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fail(run, "open", name);
    /* Such a file takes its text in one write or not at all. */
    ssize_t n = write(fd, op->args[1].string, op->args[1].number);
    int result = n == (ssize_t)op->args[1].number ? 0 : fail(run, "write", name);
    close(fd);
    return result;
}

/* cgroup directory */
int op_join_cgroup(struct run *run, const struct operation *op)
{
    char pid[16];
    const char *path = op->args[0].string;
    int length = snprintf(pid, sizeof pid, "%d", (int)run->child);
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int fd = directory < 0 ? -1 : openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    int result = fd >= 0 && write(fd, pid, (size_t)length) == length ? 0 : fail(run, "join-cgroup", path);
    if (fd >= 0)
        close(fd);
    if (directory >= 0)
        close(directory);
    return result;
}

/* cgroup directory of a v1 hierarchy: this process enters it. A single thread that moves itself needs no lock
 * on all forks and exits of the host, as a write of a PID to cgroup.procs does: that one waits for an RCU grace
 * period, several milliseconds, which is longer than all the rest of a start. */
int op_enter_cgroup(struct run *run, const struct operation *op)
{
    const char *path = op->args[0].string;
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int fd = directory < 0 ? -1 : openat(directory, "tasks", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    int result = fd >= 0 && write(fd, "0", 1) == 1 ? 0 : fail(run, "enter cgroup", path);
    if (fd >= 0)
        close(fd);
    if (directory >= 0)
        close(directory);
    return result;
}

/* path of a file that takes PIDs, such as the tasks of a resctrl group */
int op_enroll(struct run *run, const struct operation *op)
{
    char pid[16];
    const char *path = op->args[0].string;
    int length = snprintf(pid, sizeof pid, "%d", (int)run->child);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    int result = fd >= 0 && write(fd, pid, (size_t)length) == length ? 0 : fail(run, "enroll", path);
    if (fd >= 0)
        close(fd);
    return result;
}

static int write_map(pid_t pid, const char *file, const char *text)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* slot, uid_map, gid_map: a user namespace that no process is in, for the id maps of mounts */
int op_user_namespace(struct run *run, const struct operation *op)
{
    char path[40];
    int fd = -1;
    pid_t owner = clone_process(CLONE_NEWUSER, -1, NULL);
    if (owner == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    if (owner < 0)
        return fail(run, "clone3", "user namespace");
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)owner);
    if (write_map(owner, "uid_map", op->args[1].string))
        fail(run, "write", "uid_map");
    else if (write_map(owner, "gid_map", op->args[2].string))
        fail(run, "write", "gid_map");
    else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        fail(run, "open", path);
    kill(owner, SIGKILL);
    waitpid(owner, NULL, __WALL);
    return fd < 0 ? -1 : slot_set(run, &op->args[0], fd);
}

/* argument list; "@PID@" is the new process */
int op_helper(struct run *run, const struct operation *op)
{
    char pid[16];
    int status;
    const char **list = op->args[0].list;
    char *argv[512];

    if (!list[0] || op->args[0].number >= 512)
        return fail_with(run, EINVAL, "helper", "");
    snprintf(pid, sizeof pid, "%d", (int)run->child);
    for (size_t i = 0; i <= op->args[0].number; i++)
        argv[i] = list[i] && !strcmp(list[i], "@PID@") ? pid : (char *)list[i];
    pid_t helper = fork();
    if (helper == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    if (helper < 0)
        return fail(run, "fork", argv[0]);
    while (waitpid(helper, &status, 0) < 0)
        if (errno != EINTR)
            return fail(run, "waitpid", argv[0]);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fail_with(run, ENOENT, "helper", argv[0]);
    return status ? fail_with(run, EPERM, "helper", argv[0]) : 0;
}
