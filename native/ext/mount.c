/* Mounts and paths by descriptor: fsopen(2), fsmount(2), open_tree(2), move_mount(2), openat2(2). */
#define _GNU_SOURCE
#include "ext.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

PyDoc_STRVAR(openat2_doc,
"openat2(fd, path, flags, mode=0, resolve=0) -> fd\n\n"
"Open PATH from the directory FD, resolved as RESOLVE_* flags demand. The result is close-on-exec.");

static PyObject *openat2_py(PyObject *self, PyObject *args)
{
    int fd, result;
    const char *path;
    unsigned long long flags, mode = 0, resolve = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iyK|KK", &fd, &path, &flags, &mode, &resolve))
        return NULL;
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    Py_BEGIN_ALLOW_THREADS
    do
        result = (int)syscall(SYS_openat2, fd, path, &how, sizeof how);
    while (result < 0 && errno == EAGAIN);
    Py_END_ALLOW_THREADS
    return result < 0 ? PyErr_SetFromErrnoWithFilename(PyExc_OSError, path) : PyLong_FromLong(result);
}

/* The kernel's own words on what it refused, which the context keeps; they begin with "e ". */
static PyObject *raise_context(int context, const char *call)
{
    char text[512];
    int error = errno;
    ssize_t size = read(context, text, sizeof text - 1);

    if (size < 3)
        size = 0;
    text[size] = '\0';
    text[strcspn(text, "\n")] = '\0';
    PyObject *arguments = Py_BuildValue("(iss)", error, call, size ? text + 2 : strerror(error));
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

/* KEY and VALUE from a pair; a value of None is a flag. */
static int configure(int context, PyObject *pair)
{
    const char *key, *value;
    int result;

    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "an option is a pair of key and value");
        return -1;
    }
    if (!PyArg_ParseTuple(pair, "sz", &key, &value))
        return -1;
    Py_BEGIN_ALLOW_THREADS
    result = (int)syscall(SYS_fsconfig, context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0);
    Py_END_ALLOW_THREADS
    if (result)
        raise_context(context, key);
    return result;
}

static PyObject *finish_mount(int context, unsigned attributes)
{
    int result, mount = -1;

    Py_BEGIN_ALLOW_THREADS
    result = (int)syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (!result)
        mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    Py_END_ALLOW_THREADS
    return mount < 0 ? raise_context(context, result ? "fsconfig" : "fsmount") : PyLong_FromLong(mount);
}

PyDoc_STRVAR(new_mount_doc,
"new_mount(type, options, attributes=0) -> fd\n\n"
"A new mount that is attached nowhere and vanishes with its last descriptor. OPTIONS are pairs (key, value),\n"
"value None for a flag. The OSError carries the kernel's explanation: (errno, key or call, explanation).");

static PyObject *new_mount(PyObject *self, PyObject *args)
{
    const char *type;
    PyObject *options, *result = NULL;
    unsigned attributes = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "sO|I", &type, &options, &attributes))
        return NULL;
    PyObject *fast = PySequence_Fast(options, "options are a sequence of pairs");
    if (!fast)
        return NULL;
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, type);
        goto out;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast); i++)
        if (configure(context, PySequence_Fast_GET_ITEM(fast, i)))
            goto out;
    result = finish_mount(context, attributes);
out:
    if (context >= 0)
        close(context);
    Py_DECREF(fast);
    return result;
}

PyDoc_STRVAR(open_tree_doc,
"open_tree(fd, path, flags) -> fd\n\n"
"The mount at PATH, or with OPEN_TREE_CLONE a detached copy of it.");

static PyObject *open_tree_py(PyObject *self, PyObject *args)
{
    int fd, result;
    const char *path;
    unsigned flags;

    (void)self;
    if (!PyArg_ParseTuple(args, "iyI", &fd, &path, &flags))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = (int)syscall(SYS_open_tree, fd, path, flags | OPEN_TREE_CLOEXEC);
    Py_END_ALLOW_THREADS
    return result < 0 ? PyErr_SetFromErrnoWithFilename(PyExc_OSError, path) : PyLong_FromLong(result);
}

PyDoc_STRVAR(move_mount_doc,
"move_mount(mount, target) -> None\n\n"
"Attach the detached mount behind descriptor MOUNT on the directory or file behind TARGET.");

static PyObject *move_mount_py(PyObject *self, PyObject *args)
{
    int mount, target, result;

    (void)self;
    if (!PyArg_ParseTuple(args, "ii", &mount, &target))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = (int)syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(mount_setattr_doc,
"mount_setattr(mount, attributes_set, attributes_clear=0, user_namespace=-1, recursive=False) -> None\n\n"
"Change a mount's MOUNT_ATTR_* flags; MOUNT_ATTR_IDMAP takes the map of the user namespace's descriptor.");

static PyObject *mount_setattr_py(PyObject *self, PyObject *args)
{
    int mount, namespace = -1, recursive = 0, result;
    unsigned long long set, clear = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iK|Kip", &mount, &set, &clear, &namespace, &recursive))
        return NULL;
    struct mount_attr attributes = {.attr_set = set, .attr_clr = clear};
    if (namespace >= 0)
        attributes.userns_fd = (unsigned)namespace;
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    Py_BEGIN_ALLOW_THREADS
    result = (int)syscall(SYS_mount_setattr, mount, "", flags, &attributes, sizeof attributes);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(umount_doc,
"umount(path, flags=0) -> None\n\n"
"umount2(2), with MNT_DETACH, UMOUNT_NOFOLLOW and the like.");

static PyObject *umount_py(PyObject *self, PyObject *args)
{
    const char *path;
    int flags = 0, result;

    (void)self;
    if (!PyArg_ParseTuple(args, "y|i", &path, &flags))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = umount2(path, flags);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    Py_RETURN_NONE;
}

PyMethodDef mount_methods[] = {
    {"openat2", openat2_py, METH_VARARGS, openat2_doc},
    {"new_mount", new_mount, METH_VARARGS, new_mount_doc},
    {"open_tree", open_tree_py, METH_VARARGS, open_tree_doc},
    {"move_mount", move_mount_py, METH_VARARGS, move_mount_doc},
    {"mount_setattr", mount_setattr_py, METH_VARARGS, mount_setattr_doc},
    {"umount", umount_py, METH_VARARGS, umount_doc},
    {NULL, NULL, 0, NULL},
};
