/* Starting programs without a fork of the interpreter, and pidfds. clone(2), execveat(2), pidfd_open(2). */
#define _GNU_SOURCE
#include "ext.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_SIZE = 64 * 1024, MAX_FDS = 256, FD_HIGH = 512 };

struct spawn {
    int executable;
    char *const *argv;
    char *const *envp;
    const int *fds;
    int fd_count;
    int cwd;
    bool new_session;
    int death_signal;
    sigset_t mask;
    int error;
};

/* Runs in the parent's memory until execveat: nothing here may allocate or take a lock. */
static int spawn_child(void *argument)
{
    struct spawn *spawn = argument;
    int high[MAX_FDS], executable;

    if (spawn->new_session && setsid() < 0)
        goto failed;
    if (spawn->death_signal && prctl(PR_SET_PDEATHSIG, spawn->death_signal) < 0)
        goto failed;
    if (spawn->cwd >= 0 && fchdir(spawn->cwd) < 0)
        goto failed;
    executable = fcntl(spawn->executable, F_DUPFD_CLOEXEC, FD_HIGH);
    if (executable < 0)
        goto failed;
    /* Move every descriptor out of the way first, so that no number is overwritten before it is read. */
    for (int i = 0; i < spawn->fd_count; i++) {
        high[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, FD_HIGH);
        if (high[i] < 0)
            goto failed;
    }
    for (int i = 0; i < spawn->fd_count; i++)
        if (dup2(high[i], i) < 0)
            goto failed;
    if (syscall(SYS_close_range, spawn->fd_count, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        goto failed;
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    sigemptyset(&spawn->mask);
    sigprocmask(SIG_SETMASK, &spawn->mask, NULL);
    syscall(SYS_execveat, executable, "", spawn->argv, spawn->envp, AT_EMPTY_PATH);
failed:
    spawn->error = errno;
    _exit(127);
}

static void free_strings(char **strings)
{
    for (char **p = strings; p && *p; p++)
        free(*p);
    free(strings);
}

static char **copy_strings(PyObject *sequence)
{
    PyObject *fast = PySequence_Fast(sequence, "a sequence of bytes is needed");
    if (!fast)
        return NULL;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    char **strings = calloc((size_t)n + 1, sizeof *strings);
    for (Py_ssize_t i = 0; strings && i < n; i++) {
        char *bytes;
        if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(fast, i), &bytes, NULL) < 0 ||
            !(strings[i] = strdup(bytes))) {
            free_strings(strings);
            strings = NULL;
            break;
        }
    }
    Py_DECREF(fast);
    if (!strings && !PyErr_Occurred())
        PyErr_NoMemory();
    return strings;
}

static int copy_fds(PyObject *sequence, int *fds)
{
    PyObject *fast = PySequence_Fast(sequence, "a sequence of descriptors is needed");
    if (!fast)
        return -1;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    if (n > MAX_FDS) {
        PyErr_SetString(PyExc_ValueError, "too many descriptors");
        n = -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        fds[i] = (int)PyLong_AsLong(PySequence_Fast_GET_ITEM(fast, i));
        if (PyErr_Occurred()) {
            n = -1;
            break;
        }
    }
    Py_DECREF(fast);
    return (int)n;
}

PyDoc_STRVAR(spawn_doc,
"spawn(executable, argv, env, fds, cwd=-1, new_session=False, death_signal=0) -> (pid, pidfd)\n\n"
"Start the program behind descriptor EXECUTABLE. FDS[i] becomes descriptor i of the program and nothing\n"
"else is inherited. The child shares no fork of the interpreter (CLONE_VM | CLONE_VFORK) and sends no\n"
"SIGCHLD: only waitid with __WALL, as reap() does, sees it. DEATH_SIGNAL is sent to it when the calling\n"
"thread ends.");

static PyObject *spawn(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"executable", "argv", "env", "fds", "cwd", "new_session", "death_signal", NULL};
    struct spawn spawn = {.cwd = -1};
    PyObject *argv, *env, *fd_sequence, *result = NULL;
    int new_session = 0, fds[MAX_FDS], pidfd = -1;
    sigset_t all;

    (void)self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iOOO|ipi", names, &spawn.executable, &argv, &env,
                                     &fd_sequence, &spawn.cwd, &new_session, &spawn.death_signal))
        return NULL;
    char **argv_copy = copy_strings(argv);
    char **env_copy = argv_copy ? copy_strings(env) : NULL;
    void *stack = MAP_FAILED;
    if (!env_copy)
        goto out;
    spawn.fd_count = copy_fds(fd_sequence, fds);
    if (spawn.fd_count < 0)
        goto out;
    spawn.argv = argv_copy;
    spawn.envp = env_copy;
    spawn.fds = fds;
    spawn.new_session = new_session;
    stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto out;
    }
    /* A signal handler must not run in the child while it shares our memory. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &spawn.mask);
    sigset_t saved = spawn.mask;
    pid_t pid = clone(spawn_child, (char *)stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD, &spawn, &pidfd);
    int error = pid < 0 ? errno : spawn.error;
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (error) {
        if (pid > 0) {
            waitpid(pid, NULL, __WALL);
            close(pidfd);
        }
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        goto out;
    }
    result = Py_BuildValue("(ii)", (int)pid, pidfd);
out:
    if (stack != MAP_FAILED)
        munmap(stack, STACK_SIZE);
    free_strings(argv_copy);
    free_strings(env_copy);
    return result;
}

PyDoc_STRVAR(reap_doc,
"reap(pidfd, block=False) -> wait code | None\n\n"
"Collect the exit of a child made by spawn(): its exit code, or minus the signal that ended it. None if\n"
"it still runs and BLOCK is false.");

static PyObject *reap(PyObject *self, PyObject *args)
{
    int pidfd, block = 0, result;
    siginfo_t info = {0};

    (void)self;
    if (!PyArg_ParseTuple(args, "i|p", &pidfd, &block))
        return NULL;
    do {
        Py_BEGIN_ALLOW_THREADS
        result = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL | (block ? 0 : WNOHANG));
        Py_END_ALLOW_THREADS
    } while (result < 0 && errno == EINTR && !PyErr_CheckSignals());
    if (result < 0)
        return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
    if (!info.si_pid)
        Py_RETURN_NONE;
    return PyLong_FromLong(info.si_code == CLD_EXITED ? info.si_status : -info.si_status);
}

PyDoc_STRVAR(send_signal_doc, "send_signal(pidfd, signal)\n\npidfd_send_signal(2).");

static PyObject *send_signal(PyObject *self, PyObject *args)
{
    int pidfd, number;

    (void)self;
    if (!PyArg_ParseTuple(args, "ii", &pidfd, &number))
        return NULL;
    if (syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyMethodDef process_methods[] = {
    {"spawn", (PyCFunction)(void (*)(void))spawn, METH_VARARGS | METH_KEYWORDS, spawn_doc},
    {"reap", reap, METH_VARARGS, reap_doc},
    {"send_signal", send_signal, METH_VARARGS, send_signal_doc},
    {NULL, NULL, 0, NULL},
};
