/* The supervisor's side of seccomp_unotify(2): take a call, read what it points to, answer it. */
#define _GNU_SOURCE
#include "ext.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "memory.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

#define LISTENER_KEY (1ULL << 63) /* an epoll key with this bit is a listener; the rest is its descriptor */

enum { EVENTS = 64, NUMBERS = 512, FIRST_MASK = 7, SECOND_SHIFT = 3, BUFFER_BIT = 64 };
enum { PREFETCH_BUFFER = 65536, PATH_LIMIT = 4096 };

/* What call NR points to, as the table says: up to two strings, or the buffer of write(2). NULL: a fault. */
static PyObject *prefetch(const struct seccomp_notif *call, int what)
{
    if (what & BUFFER_BIT) {
        size_t length = call->data.args[2];
        if (length > PREFETCH_BUFFER)
            Py_RETURN_NONE;
        return memory_read((pid_t)call->pid, call->data.args[1], length, false);
    }
    return memory_read_string((pid_t)call->pid, call->data.args[what - 1], PATH_LIMIT);
}

/* A fault is the caller's, not ours: it becomes the errno as an int in the place of the bytes. */
static PyObject *prefetch_or_errno(const struct seccomp_notif *call, int what)
{
    PyObject *bytes = prefetch(call, what);
    if (!bytes && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        return PyLong_FromLong(errno);
    }
    return bytes;
}

static PyObject *describe(int listener, const struct seccomp_notif *call, const unsigned char *table)
{
    int nr = call->data.nr, what = nr >= 0 && nr < NUMBERS ? table[nr] : 0;
    int first = what & BUFFER_BIT ? BUFFER_BIT : what & FIRST_MASK, second = what >> SECOND_SHIFT & FIRST_MASK;
    PyObject *one, *two;

    one = first ? prefetch_or_errno(call, first) : Py_NewRef(Py_None);
    if (!one)
        return NULL;
    two = second && !(what & BUFFER_BIT) ? prefetch_or_errno(call, second) : Py_NewRef(Py_None);
    if (!two) {
        Py_DECREF(one);
        return NULL;
    }
    const __u64 *a = call->data.args;
    return Py_BuildValue("(iKIiK(KKKKKK)NN)", listener, call->id, call->pid, nr, call->data.instruction_pointer, a[0], a[1],
                         a[2], a[3], a[4], a[5], one, two);
}

PyDoc_STRVAR(notify_next_doc,
"notify_next(epoll, timeout_ms, table) -> (events, call | None)\n\n"
"Wait on EPOLL, in which a listener has the key 1 << 63 | fd. EVENTS lists the other (key, mask). CALL is\n"
"(listener, id, tid, nr, ip, arguments, first, second): the last two are the bytes that TABLE[nr] says to\n"
"read, or an errno. At most one call is taken at a time.\n"
"TABLE[nr]: bits 0-2 and 3-5 name string arguments (1-based), bit 6 the buffer of write(2).");

static PyObject *notify_next(PyObject *self, PyObject *args)
{
    int epoll, listener = -1, timeout, count;
    Py_buffer table;
    struct epoll_event ready[EVENTS];
    struct seccomp_notif call = {0};

    (void)self;
    if (!PyArg_ParseTuple(args, "iiy*", &epoll, &timeout, &table))
        return NULL;
    if (table.len != NUMBERS) {
        PyBuffer_Release(&table);
        return PyErr_Format(PyExc_ValueError, "the table must have %d entries", NUMBERS);
    }
    Py_BEGIN_ALLOW_THREADS
    count = epoll_wait(epoll, ready, EVENTS, timeout);
    Py_END_ALLOW_THREADS
    if (count < 0 && errno != EINTR) {
        PyBuffer_Release(&table);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *events = PyList_New(0), *described = NULL;
    for (int i = 0; events && i < count; i++) {
        if (ready[i].data.u64 & LISTENER_KEY && ready[i].events & EPOLLIN) {
            /* A failure (ENOENT) means that the caller was killed between the wait and now. */
            if (listener < 0 && ioctl((int)ready[i].data.u64, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0)
                listener = (int)ready[i].data.u64;
            continue;
        }
        PyObject *event = Py_BuildValue("(KI)", ready[i].data.u64, ready[i].events);
        if (!event || PyList_Append(events, event) < 0)
            Py_CLEAR(events);
        Py_XDECREF(event);
    }
    if (events)
        described = listener >= 0 ? describe(listener, &call, table.buf) : Py_NewRef(Py_None);
    PyBuffer_Release(&table);
    if (!described) {
        Py_XDECREF(events);
        return NULL;
    }
    return Py_BuildValue("(NN)", events, described);
}

PyDoc_STRVAR(notify_answer_doc,
"notify_answer(listener, id, value) -> bool\n\n"
"Let call ID return VALUE (-4095 to -1: an error). False if the caller is gone.");

static PyObject *respond(int listener, unsigned long long id, long long value, unsigned int flags)
{
    struct seccomp_notif_resp response = {.id = id, .flags = flags};

    if (value < 0 && value >= -4095)
        response.error = (int)value;
    else
        response.val = value;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0)
        Py_RETURN_TRUE;
    if (errno == ENOENT || errno == EINPROGRESS)
        Py_RETURN_FALSE;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *notify_answer(PyObject *self, PyObject *args)
{
    int listener;
    unsigned long long id;
    long long value;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKL", &listener, &id, &value))
        return NULL;
    return respond(listener, id, value, 0);
}

PyDoc_STRVAR(notify_continue_doc,
"notify_continue(listener, id) -> bool\n\n"
"Let the kernel execute call ID. Only for calls whose arguments are all in registers.");

static PyObject *notify_continue(PyObject *self, PyObject *args)
{
    int listener;
    unsigned long long id;

    (void)self;
    if (!PyArg_ParseTuple(args, "iK", &listener, &id))
        return NULL;
    return respond(listener, id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

PyDoc_STRVAR(notify_valid_doc, "notify_valid(listener, id) -> bool\n\nWhether the caller still waits.");

static PyObject *notify_valid(PyObject *self, PyObject *args)
{
    int listener;
    unsigned long long id;

    (void)self;
    if (!PyArg_ParseTuple(args, "iK", &listener, &id))
        return NULL;
    return PyBool_FromLong(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0);
}

PyDoc_STRVAR(notify_add_fd_doc,
"notify_add_fd(listener, id, fd, number) -> int\n\n"
"Put FD at NUMBER in the caller's table, close-on-exec, replacing what is there. Raises OSError.");

static PyObject *notify_add_fd(PyObject *self, PyObject *args)
{
    int listener, fd, number;
    unsigned long long id;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKii", &listener, &id, &fd, &number))
        return NULL;
    struct seccomp_notif_addfd add = {.id = id, .flags = SECCOMP_ADDFD_FLAG_SETFD, .srcfd = (__u32)fd};
    add.newfd = (__u32)number;
    add.newfd_flags = 02000000; /* O_CLOEXEC */
    int result = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    return result < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(result);
}

PyDoc_STRVAR(notify_synchronous_doc,
"notify_synchronous(listener)\n\n"
"Ask that answering wakes the caller on this processor (Linux 6.6); OSError where that is not known.");

static PyObject *notify_synchronous(PyObject *self, PyObject *args)
{
    int listener;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &listener))
        return NULL;
    /* The kernel takes the flag word as the argument itself. */
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1UL) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(epoll_add_doc,
"epoll_add(epoll, fd, events, key)\n\nepoll_ctl(2) with a key of one's own. Raises OSError.");

static PyObject *epoll_add(PyObject *self, PyObject *args)
{
    int epoll, fd;
    struct epoll_event event;
    unsigned int events;
    unsigned long long key;

    (void)self;
    if (!PyArg_ParseTuple(args, "iiIK", &epoll, &fd, &events, &key))
        return NULL;
    event.events = events;
    event.data.u64 = key;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyMethodDef notify_methods[] = {
    {"epoll_add", epoll_add, METH_VARARGS, epoll_add_doc},
    {"notify_next", notify_next, METH_VARARGS, notify_next_doc},
    {"notify_answer", notify_answer, METH_VARARGS, notify_answer_doc},
    {"notify_continue", notify_continue, METH_VARARGS, notify_continue_doc},
    {"notify_valid", notify_valid, METH_VARARGS, notify_valid_doc},
    {"notify_add_fd", notify_add_fd, METH_VARARGS, notify_add_fd_doc},
    {"notify_synchronous", notify_synchronous, METH_VARARGS, notify_synchronous_doc},
    {NULL, NULL, 0, NULL},
};
