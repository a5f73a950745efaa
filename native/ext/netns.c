/* Network namespaces: a socket in another one, and the calling thread's own. setns(2), unshare(2). */
#define _GNU_SOURCE
#include "ext.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

PyDoc_STRVAR(socket_in_netns_doc,
"socket_in_netns(netns, family, type, protocol=0) -> descriptor\n\n"
"Open a socket in the network namespace behind descriptor NETNS. A socket stays in the namespace in which\n"
"it was made, so the calling thread is back in its own before this returns.");

static PyObject *socket_in_netns(PyObject *self, PyObject *args)
{
    int netns, family, type, protocol = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iii|i", &netns, &family, &type, &protocol))
        return NULL;
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    int fd = -1, error = 0;
    if (setns(netns, CLONE_NEWNET) < 0) {
        error = errno;
    } else {
        fd = socket(family, type | SOCK_CLOEXEC, protocol);
        error = fd < 0 ? errno : 0;
        /* A thread left in a foreign namespace would make every later call act there. */
        if (setns(home, CLONE_NEWNET) < 0)
            Py_FatalError("cannot return to the thread's own network namespace");
    }
    close(home);
    if (!error)
        return PyLong_FromLong(fd);
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyDoc_STRVAR(setns_doc,
"setns(fd, nstype=0)\n\n"
"Move the calling thread into the namespace behind FD. setns(2).");

static PyObject *thread_setns(PyObject *self, PyObject *args)
{
    int fd, nstype = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "i|i", &fd, &nstype))
        return NULL;
    if (setns(fd, nstype) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(unshare_doc,
"unshare(flags)\n\n"
"Give the calling thread new namespaces. unshare(2).");

static PyObject *thread_unshare(PyObject *self, PyObject *args)
{
    int flags;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &flags))
        return NULL;
    if (unshare(flags) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyMethodDef netns_methods[] = {
    {"socket_in_netns", socket_in_netns, METH_VARARGS, socket_in_netns_doc},
    {"setns", thread_setns, METH_VARARGS, setns_doc},
    {"unshare", thread_unshare, METH_VARARGS, unshare_doc},
    {NULL, NULL, 0, NULL},
};
