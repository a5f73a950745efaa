/* Making a task that can do nothing by itself, and changing where one goes on. clone(2), seccomp(2), ptrace(2). */
#define _GNU_SOURCE
#include "ext.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

enum { STACK_SIZE = 64 * 1024, LAST_CAPABILITY = 63, LISTENER_FD = 0 };
enum { STATE_NEW, STATE_MAPPED, STATE_READY, STATE_FAILED };

#define NAMESPACES                                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* What the child works from. It shares our memory until it executes the stub. */
struct birth {
    const char *stub;
    size_t stub_size;
    struct sock_fprog filter;
    int join; /* pidfd of a task whose namespaces to join, or -1 for new ones */
    pid_t pid;
    int pidfd;
    uint32_t state;
    int error;
};

static char child_stack[STACK_SIZE] __attribute__((aligned(16)));
static char helper_stack[STACK_SIZE] __attribute__((aligned(16)));

static long futex(uint32_t *word, int operation, uint32_t value)
{
    return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void set_state(struct birth *birth, uint32_t state)
{
    __atomic_store_n(&birth->state, state, __ATOMIC_SEQ_CST);
    futex(&birth->state, FUTEX_WAKE, 1);
}

static uint32_t await_change(struct birth *birth, uint32_t from)
{
    uint32_t state;

    while ((state = __atomic_load_n(&birth->state, __ATOMIC_SEQ_CST)) == from)
        futex(&birth->state, FUTEX_WAIT, from);
    return state;
}

/* A root directory with the stub in it and nothing else, read-only. */
static int enter_empty_root(const struct birth *birth)
{
    static const char base[] = "/tmp";

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    if (mount("stub", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0555,size=1m") < 0 || chdir(base) < 0)
        return -1;
    int fd = open("stub", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555);
    if (fd < 0 || write(fd, birth->stub, birth->stub_size) != (ssize_t)birth->stub_size || fchmod(fd, 0555) < 0)
        return -1;
    close(fd);
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -1;
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL);
}

static int drop_capabilities(void)
{
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    uint32_t none[6] = {0};

    for (int capability = 0; capability <= LAST_CAPABILITY; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return -1;
    if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_capset, &header, none);
}

static int be_born(void *argument)
{
    struct birth *birth = argument;
    static char *const nothing[] = {NULL};

    if (await_change(birth, STATE_NEW) != STATE_MAPPED)
        _exit(1);
    if (birth->join < 0 && enter_empty_root(birth) < 0)
        goto failed;
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || drop_capabilities() < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        goto failed;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (syscall(SYS_close_range, 0, ~0U, 0) < 0)
        goto failed;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &birth->filter) < 0)
        goto failed;
    set_state(birth, STATE_READY);
    execve("/stub", nothing, nothing);
    _exit(1);
failed:
    birth->error = errno;
    set_state(birth, STATE_FAILED);
    _exit(1);
}

static int write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return written == (ssize_t)strlen(text) ? 0 : -1;
}

/* One number, which looks like root's but is nobody's: there is no capability left that it could give. */
static int map_identity(pid_t pid)
{
    char text[32];

    snprintf(text, sizeof text, "0 %u 1", geteuid());
    if (write_file(pid, "uid_map", text) < 0 || write_file(pid, "setgroups", "deny") < 0)
        return -1;
    snprintf(text, sizeof text, "0 %u 1", getegid());
    return write_file(pid, "gid_map", text);
}

/* In the namespaces of another task, a child of our parent. The helper only lives until it is made. */
static int join_and_bear(void *argument)
{
    struct birth *birth = argument;

    if (setns(birth->join, NAMESPACES) < 0 ||
        (birth->pid = clone(be_born, child_stack + STACK_SIZE, CLONE_VM | CLONE_PARENT | CLONE_PIDFD | SIGCHLD, birth,
                            &birth->pidfd)) < 0)
        birth->error = errno;
    _exit(0);
}

static int make_in_new_namespaces(struct birth *birth)
{
    birth->pid = clone(be_born, child_stack + STACK_SIZE, CLONE_VM | CLONE_PIDFD | NAMESPACES | SIGCHLD, birth,
                       &birth->pidfd);
    return birth->pid < 0 ? -1 : map_identity(birth->pid);
}

static int make_in_joined_namespaces(struct birth *birth)
{
    pid_t helper = clone(join_and_bear, helper_stack + STACK_SIZE, CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, birth);

    if (helper < 0)
        return -1;
    waitpid(helper, NULL, __WALL);
    errno = birth->error;
    return birth->error ? -1 : 0;
}

/* The child leaves our memory when it executes the stub; until then BIRTH's buffers are its own too. */
static PyObject *bear(struct birth *birth)
{
    int error = 0, listener = -1;

    birth->pid = birth->pidfd = -1;
    if ((birth->join < 0 ? make_in_new_namespaces(birth) : make_in_joined_namespaces(birth)) < 0) {
        error = errno;
        set_state(birth, STATE_FAILED);
    } else {
        set_state(birth, STATE_MAPPED);
        if (await_change(birth, STATE_MAPPED) != STATE_READY)
            error = birth->error;
        else if ((listener = (int)syscall(SYS_pidfd_getfd, birth->pidfd, LISTENER_FD, 0)) < 0)
            error = errno;
    }
    if (!error)
        return Py_BuildValue("(iii)", (int)birth->pid, birth->pidfd, listener);
    if (birth->pid > 0) {
        kill(birth->pid, SIGKILL);
        waitpid(birth->pid, NULL, __WALL);
        close(birth->pidfd);
    }
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyDoc_STRVAR(sandbox_spawn_doc,
"sandbox_spawn(stub, filter, join=-1) -> (pid, pidfd, listener)\n\n"
"A task in new namespaces (all of them), in an empty read-only root that holds only /stub with the bytes\n"
"STUB, without capabilities and descriptors, under the seccomp FILTER (struct sock_filter array). Its first\n"
"notified call is the execve of /stub, and until that is answered it shares this process's memory. JOIN is\n"
"the pidfd of such a task, to make another beside it. Raises OSError with the errno of the failing step.");

static PyObject *sandbox_spawn(PyObject *self, PyObject *args)
{
    Py_buffer stub, filter;
    struct birth birth = {.join = -1};

    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*|i", &stub, &filter, &birth.join))
        return NULL;
    birth.stub = stub.buf;
    birth.stub_size = (size_t)stub.len;
    birth.filter.len = (unsigned short)((size_t)filter.len / sizeof(struct sock_filter));
    birth.filter.filter = filter.buf;
    PyObject *result = bear(&birth);
    PyBuffer_Release(&stub);
    PyBuffer_Release(&filter);
    return result;
}

/* What a task finds at its stack pointer in trimaran_call (native/sandbox/stub.c): what to take back. */
struct call_frame {
    uint64_t arguments[5];
    uint64_t address;
    uint64_t stack;
    uint64_t number;
};

enum { RED_ZONE = 128 };

#if defined(__x86_64__)
static void point_at(struct user_regs_struct *r, uint64_t address)
{
    r->rip = address;
    r->orig_rax = (unsigned long long)-1; /* no restart of the call it was in */
}

static void save_call(const struct user_regs_struct *r, struct call_frame *frame)
{
    *frame = (struct call_frame){{r->rdi, r->rsi, r->rdx, r->r10, r->r8}, r->rip, r->rsp, 0};
}

static void set_call(struct user_regs_struct *r, uint64_t stack, uint64_t number, const uint64_t *arguments)
{
    r->rsp = stack;
    r->rax = number;
    r->rdi = arguments[0];
    r->rsi = arguments[1];
    r->rdx = arguments[2];
    r->r10 = arguments[3];
    r->r8 = arguments[4];
}
#elif defined(__aarch64__)
static void point_at(struct user_regs_struct *r, uint64_t address)
{
    r->pc = address;
}

static void save_call(const struct user_regs_struct *r, struct call_frame *frame)
{
    *frame = (struct call_frame){{0, r->regs[1], r->regs[2], r->regs[3], r->regs[4]}, r->pc, r->sp, r->regs[8]};
}

static void set_call(struct user_regs_struct *r, uint64_t stack, uint64_t number, const uint64_t *arguments)
{
    r->sp = stack;
    r->regs[8] = number;
    for (int i = 0; i < 5; i++)
        r->regs[i] = arguments[i];
}
#else
#error "unknown architecture"
#endif

/* Where a task is to go on; NUMBER is a call to make there, or -1. */
struct detour {
    uint64_t address;
    int64_t number;
    uint64_t arguments[5];
};

static int push_frame(pid_t tid, struct user_regs_struct *registers, const struct detour *detour)
{
    struct call_frame frame;

    save_call(registers, &frame);
    uint64_t stack = (frame.stack - RED_ZONE - sizeof frame) & ~15UL;
    struct iovec here = {&frame, sizeof frame}, there = {(void *)(uintptr_t)stack, sizeof frame};
    if (process_vm_writev(tid, &here, 1, &there, 1, 0) != (ssize_t)sizeof frame)
        return -1;
    set_call(registers, stack, (uint64_t)detour->number, detour->arguments);
    return 0;
}

/* With the task stopped on its way out of the call: point it elsewhere and let it go. */
static int redirect_stopped(pid_t tid, const struct detour *detour)
{
    struct user_regs_struct registers;
    struct iovec area = {&registers, sizeof registers};
    int status;

    if (waitpid(tid, &status, __WALL) != tid)
        return -1;
    if (!WIFSTOPPED(status)) {
        errno = ESRCH;
        return -1;
    }
    /* A signal that came first is delivered, with the new place as the one to return to. */
    int number = status >> 16 ? 0 : WSTOPSIG(status);
    int result = (int)ptrace(PTRACE_GETREGSET, tid, (void *)(uintptr_t)NT_PRSTATUS, &area);
    if (!result && detour->number >= 0)
        result = push_frame(tid, &registers, detour);
    if (!result) {
        point_at(&registers, detour->address);
        area.iov_len = sizeof registers;
        result = (int)ptrace(PTRACE_SETREGSET, tid, (void *)(uintptr_t)NT_PRSTATUS, &area);
    }
    int error = errno;
    ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)number);
    errno = error;
    return result;
}

static PyObject *take_detour(int listener, unsigned long long id, pid_t tid, const struct detour *detour)
{
    struct seccomp_notif_resp response = {.id = id, .error = -EFAULT};

    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 ||
        redirect_stopped(tid, detour) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(task_redirect_doc,
"task_redirect(listener, id, tid, address)\n\n"
"Answer call ID so that its caller TID goes on at ADDRESS. Nothing in its memory changes. Raises OSError\n"
"(ESRCH if it was killed).");

static PyObject *task_redirect(PyObject *self, PyObject *args)
{
    int listener, tid;
    unsigned long long id;
    struct detour detour = {.number = -1};

    (void)self;
    if (!PyArg_ParseTuple(args, "iKiK", &listener, &id, &tid, &detour.address))
        return NULL;
    return take_detour(listener, id, tid, &detour);
}

PyDoc_STRVAR(task_call_doc,
"task_call(listener, id, tid, address, number, arguments)\n\n"
"Answer call ID by letting its caller make call NUMBER with five ARGUMENTS from trimaran_call at ADDRESS;\n"
"what that returns is what the caller gets. Raises OSError.");

static PyObject *task_call(PyObject *self, PyObject *args)
{
    int listener, tid;
    unsigned long long id, a[5];
    struct detour detour;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKiKL(KKKKK)", &listener, &id, &tid, &detour.address, &detour.number, &a[0], &a[1],
                          &a[2], &a[3], &a[4]))
        return NULL;
    for (int i = 0; i < 5; i++)
        detour.arguments[i] = a[i];
    return take_detour(listener, id, tid, &detour);
}

static int write_maps(pid_t pid, const char *map)
{
    return write_file(pid, "uid_map", map) < 0 || write_file(pid, "gid_map", map) < 0 ? -1 : 0;
}

PyDoc_STRVAR(enter_user_namespace_doc,
"enter_user_namespace(everyone)\n\n"
"unshare(2) into a user and a mount namespace of one's own. With EVERYONE all users and groups are mapped\n"
"to themselves (only root may), else just the caller, to 0. Raises OSError.");

static PyObject *enter_user_namespace(PyObject *self, PyObject *args)
{
    int everyone, ends[2], status = 0;
    char go, map[32];

    (void)self;
    if (!PyArg_ParseTuple(args, "p", &everyone))
        return NULL;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    pid_t pid = getpid(), helper = 0;
    if (everyone) {
        /* Who has left a namespace cannot map more than himself: a helper that stays does it. */
        if (pipe2(ends, O_CLOEXEC) < 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        helper = fork();
        if (!helper) {
            close(ends[1]);
            _exit(read(ends[0], &go, 1) == 1 && !write_maps(pid, "0 0 4294967295") ? 0 : errno);
        }
        close(ends[0]);
    }
    int result = unshare(CLONE_NEWUSER | CLONE_NEWNS), error = errno;
    if (everyone) {
        if (!result && write(ends[1], "", 1) != 1)
            result = -1;
        close(ends[1]);
        waitpid(helper, &status, 0);
        if (!result && status) {
            result = -1;
            error = WEXITSTATUS(status);
        }
    } else if (!result) {
        snprintf(map, sizeof map, "0 %u 1", uid);
        result = write_file(pid, "uid_map", map);
        if (!result)
            result = write_file(pid, "setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", gid);
        if (!result)
            result = write_file(pid, "gid_map", map);
        error = errno;
    }
    if (result < 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static int bind_into(const char *source, const char *target)
{
    return mount(source, target, NULL, MS_BIND | MS_REC, NULL);
}

PyDoc_STRVAR(leave_root_doc,
"leave_root()\n\n"
"Change to a root directory, in memory and read-only, that has /proc, /dev/null and /dev/zero and nothing\n"
"else. For a process in a mount namespace of its own. Raises OSError.");

static PyObject *leave_root(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("jail", "/tmp", "tmpfs", MS_NOSUID, "mode=0755,size=64k") < 0 || chdir("/tmp") < 0 ||
        mkdir("proc", 0555) < 0 || mkdir("tmp", 0555) < 0 || mkdir("dev", 0555) < 0 ||
        close(creat("dev/null", 0600)) < 0 || close(creat("dev/zero", 0600)) < 0 || bind_into("/proc", "proc") < 0 ||
        bind_into("/dev/null", "dev/null") < 0 || bind_into("/dev/zero", "dev/zero") < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
        mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(keep_capabilities_doc,
"keep_capabilities(mask)\n\n"
"Give up every capability that is not in MASK, for good, and set no_new_privs. Raises OSError.");

static PyObject *keep_capabilities(PyObject *self, PyObject *args)
{
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    unsigned long long mask;

    (void)self;
    if (!PyArg_ParseTuple(args, "K", &mask))
        return NULL;
    for (int capability = 0; capability <= LAST_CAPABILITY; capability++)
        if (!(mask >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return PyErr_SetFromErrno(PyExc_OSError);
    uint32_t low = (uint32_t)mask, high = (uint32_t)(mask >> 32);
    uint32_t sets[6] = {low, low, 0, high, high, 0};
    if (syscall(SYS_capset, &header, sets) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_filter_doc, "set_filter(filter)\n\nPut this thread under a seccomp filter (struct sock_filter array).");

static PyObject *set_filter(PyObject *self, PyObject *args)
{
    Py_buffer filter;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &filter))
        return NULL;
    struct sock_fprog program = {(unsigned short)((size_t)filter.len / sizeof(struct sock_filter)), filter.buf};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    PyBuffer_Release(&filter);
    if (result < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tgkill_doc, "tgkill(tgid, tid, signal)\n\nSignal one thread. Raises OSError.");

static PyObject *send_to_thread(PyObject *self, PyObject *args)
{
    int tgid, tid, number;

    (void)self;
    if (!PyArg_ParseTuple(args, "iii", &tgid, &tid, &number))
        return NULL;
    if (syscall(SYS_tgkill, tgid, tid, number) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fallocate_doc, "fallocate(fd, mode, offset, length)\n\nfallocate(2), with every mode. Raises OSError.");

static PyObject *allocate(PyObject *self, PyObject *args)
{
    int fd, mode;
    long long offset, length;

    (void)self;
    if (!PyArg_ParseTuple(args, "iiLL", &fd, &mode, &offset, &length))
        return NULL;
    if (fallocate(fd, mode, offset, length) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyMethodDef sandbox_methods[] = {
    {"sandbox_spawn", sandbox_spawn, METH_VARARGS, sandbox_spawn_doc},
    {"task_redirect", task_redirect, METH_VARARGS, task_redirect_doc},
    {"enter_user_namespace", enter_user_namespace, METH_VARARGS, enter_user_namespace_doc},
    {"leave_root", leave_root, METH_NOARGS, leave_root_doc},
    {"keep_capabilities", keep_capabilities, METH_VARARGS, keep_capabilities_doc},
    {"set_filter", set_filter, METH_VARARGS, set_filter_doc},
    {"task_call", task_call, METH_VARARGS, task_call_doc},
    {"tgkill", send_to_thread, METH_VARARGS, tgkill_doc},
    {"fallocate", allocate, METH_VARARGS, fallocate_doc},
    {NULL, NULL, 0, NULL},
};
