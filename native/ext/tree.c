/* The Python side of unpack.h: layers onto directories, and directories away. */
#define _GNU_SOURCE
#include "ext.h"
#include "unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char CAPSULE[] = "trimaran.linux._sys.Unpacker";

/* As in _sys.pyi and trimaran/image/layer.py. */
enum { KEEP_OWNER = 1, USER_XATTRS = 2, SKIP_DEVICES = 4, LATE_MODES = 8 };

/* What the capsule holds. BUSY while a call works on it without the GIL. */
struct handle {
    struct unpacker *unpacker;
    bool busy;
};

static void handle_free(PyObject *capsule)
{
    struct handle *handle = PyCapsule_GetPointer(capsule, CAPSULE);

    if (handle && handle->unpacker)
        unpack_close(handle->unpacker);
    free(handle);
}

static struct handle *handle_of(PyObject *capsule)
{
    struct handle *handle = PyCapsule_GetPointer(capsule, CAPSULE);

    if (handle && (handle->busy || !handle->unpacker)) {
        PyErr_SetString(PyExc_RuntimeError, handle->busy ? "the unpacker is in use" : "the unpacker is closed");
        return NULL;
    }
    return handle;
}

/* OSError(errno, call, path) for a system call, ValueError(reason, path, offset) for bad input. */
static PyObject *raise_fault(const struct unpacker *u)
{
    const struct fault *fault = &u->fault;
    unsigned long long offset = u->parser ? tar_block_offset(u->parser) : 0;
    PyObject *path = PyUnicode_DecodeFSDefault(fault->path);
    PyObject *error = NULL;

    if (path && fault->number)
        error = Py_BuildValue("(isO)", fault->number, fault->what, path);
    else if (path)
        error = Py_BuildValue("(sOK)", fault->what, path, offset);
    if (error)
        PyErr_SetObject(fault->number ? PyExc_OSError : PyExc_ValueError, error);
    Py_XDECREF(error);
    Py_XDECREF(path);
    return NULL;
}

static int read_map(PyObject *sequence, struct id_map *map)
{
    PyObject *fast = PySequence_Fast(sequence, "an id map is a sequence of (inside, outside, count)");
    int result = -1;

    if (!fast)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    map->ranges = calloc((size_t)count + 1, sizeof *map->ranges);
    if (!map->ranges) {
        PyErr_NoMemory();
        goto out;
    }
    for (; (Py_ssize_t)map->count < count; map->count++) {
        struct id_range *range = &map->ranges[map->count];
        PyObject *item = PySequence_Fast_GET_ITEM(fast, (Py_ssize_t)map->count);
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "an id map is a sequence of (inside, outside, count)");
            goto out;
        }
        if (!PyArg_ParseTuple(item, "III", &range->inside, &range->outside, &range->count))
            goto out;
    }
    result = 0;
out:
    Py_DECREF(fast);
    return result;
}

static PyObject *new_capsule(struct unpacker *u)
{
    struct handle *handle = calloc(1, sizeof *handle);

    if (!handle) {
        unpack_close(u);
        return PyErr_NoMemory();
    }
    handle->unpacker = u;
    PyObject *capsule = PyCapsule_New(handle, CAPSULE, handle_free);
    if (!capsule) {
        unpack_close(u);
        free(handle);
    }
    return capsule;
}

PyDoc_STRVAR(unpack_new_doc,
"unpack_new(fd, uids, gids, flags, max_entries, max_size) -> unpacker\n\n"
"Begin to apply a tar stream to the directory FD as one layer. UIDS and GIDS are lists of (inside, outside,\n"
"count). This and the functions below raise OSError(errno, call, path), or ValueError(reason, path, offset)\n"
"for a stream that is malformed or too large.");

static PyObject *unpack_new(PyObject *self, PyObject *args)
{
    int root;
    unsigned flags;
    PyObject *uids, *gids;
    unsigned long long max_entries, max_size;

    (void)self;
    if (!PyArg_ParseTuple(args, "iOOIKK", &root, &uids, &gids, &flags, &max_entries, &max_size))
        return NULL;
    struct unpacker *u = calloc(1, sizeof *u);
    if (!u)
        return PyErr_NoMemory();
    u->file = u->dirs.root = -1;
    u->options.keep_owner = flags & KEEP_OWNER;
    u->options.user_xattrs = flags & USER_XATTRS;
    u->options.skip_devices = flags & SKIP_DEVICES;
    u->options.late_modes = flags & LATE_MODES;
    u->options.max_entries = max_entries;
    u->options.max_size = max_size;
    if (read_map(uids, &u->options.uids) || read_map(gids, &u->options.gids)) {
        unpack_close(u);
        return NULL;
    }
    if (unpack_open(u, root)) {
        raise_fault(u);
        unpack_close(u);
        return NULL;
    }
    return new_capsule(u);
}

PyDoc_STRVAR(unpack_feed_doc,
"unpack_feed(unpacker, data) -> None\n\n"
"Apply the next bytes of the stream, however they are cut, without the GIL.");

static PyObject *unpack_feed_py(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_buffer data;
    int result = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*", &capsule, &data))
        return NULL;
    struct handle *handle = handle_of(capsule);
    if (handle) {
        handle->busy = true;
        Py_BEGIN_ALLOW_THREADS
        result = unpack_feed(handle->unpacker, data.buf, (size_t)data.len);
        Py_END_ALLOW_THREADS
        handle->busy = false;
    }
    PyBuffer_Release(&data);
    if (!handle)
        return NULL;
    if (result)
        return raise_fault(handle->unpacker);
    Py_RETURN_NONE;
}

static PyObject *implicit_paths(const struct unpacker *u)
{
    PyObject *list = PyList_New(0);

    if (list && !u->root_described) {
        PyObject *root = PyBytes_FromString("");
        if (!root || PyList_Append(list, root))
            Py_CLEAR(list);
        Py_XDECREF(root);
    }
    for (size_t i = 0; list && i < u->table.count; i++) {
        const struct dir_record *record = &u->table.list[i];
        if (!record->path || !record->implicit)
            continue;
        PyObject *path = PyBytes_FromString(record->path);
        if (!path || PyList_Append(list, path))
            Py_CLEAR(list);
        Py_XDECREF(path);
    }
    return list;
}

static PyObject *late_links(const struct unpacker *u)
{
    PyObject *list = PyList_New((Py_ssize_t)u->link_count);

    for (size_t i = 0; list && i < u->link_count; i++) {
        PyObject *pair = Py_BuildValue("(yy)", u->links[i].path, u->links[i].target);
        if (pair)
            PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *whiteout_paths(const struct unpacker *u)
{
    PyObject *list = PyList_New((Py_ssize_t)u->whiteout_count);

    for (size_t i = 0; list && i < u->whiteout_count; i++) {
        PyObject *path = PyBytes_FromString(u->whiteouts[i]);
        if (path)
            PyList_SET_ITEM(list, (Py_ssize_t)i, path);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *result_of(const struct unpacker *u)
{
    PyObject *implicit = implicit_paths(u), *links = late_links(u), *whiteouts = whiteout_paths(u);
    PyObject *result = NULL;

    if (implicit && links && whiteouts)
        result = Py_BuildValue("(KKOOOOKK)", (unsigned long long)tar_offset(u->parser),
                               (unsigned long long)u->entries, implicit, links, whiteouts,
                               u->root_opaque ? Py_True : Py_False, (unsigned long long)u->dropped_xattrs,
                               (unsigned long long)u->skipped_devices);
    Py_XDECREF(implicit);
    Py_XDECREF(links);
    Py_XDECREF(whiteouts);
    return result;
}

PyDoc_STRVAR(unpack_finish_doc,
"unpack_finish(unpacker) -> (size, entries, implicit, links, whiteouts, opaque, dropped_xattrs,\n"
"                            skipped_devices)\n\n"
"The stream has ended: give the directories their times. SIZE is in bytes of the stream; IMPLICIT are the\n"
"directories that no member describes ('' is the root), LINKS are hard links (path, target) whose target is\n"
"not in this layer, WHITEOUTS are all that have been made, OPAQUE says that the root hides all layers below.");

static PyObject *unpack_finish_py(PyObject *self, PyObject *capsule)
{
    (void)self;
    struct handle *handle = handle_of(capsule);
    int result;

    if (!handle)
        return NULL;
    struct unpacker *u = handle->unpacker;
    handle->busy = true;
    Py_BEGIN_ALLOW_THREADS
    result = unpack_finish(u);
    Py_END_ALLOW_THREADS
    handle->busy = false;
    if (result)
        return raise_fault(u);
    return result_of(u);
}

PyDoc_STRVAR(unpack_close_doc,
"unpack_close(unpacker) -> None\n\n"
"Let go of all descriptors; what has been unpacked stays.");

static PyObject *unpack_close_py(PyObject *self, PyObject *capsule)
{
    (void)self;
    struct handle *handle = handle_of(capsule);

    if (!handle)
        return NULL;
    unpack_close(handle->unpacker);
    handle->unpacker = NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_tree_doc,
"remove_tree(fd, name) -> None\n\n"
"Remove NAME in the directory FD with all that is in it, without following links or entering mounts (EBUSY).");

static PyObject *remove_tree_py(PyObject *self, PyObject *args)
{
    int fd, result;
    const char *name;

    (void)self;
    if (!PyArg_ParseTuple(args, "iy", &fd, &name))
        return NULL;
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) {
        PyErr_SetString(PyExc_ValueError, "remove_tree takes one name within the directory");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = remove_tree(fd, name);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    Py_RETURN_NONE;
}

PyMethodDef tree_methods[] = {
    {"unpack_new", unpack_new, METH_VARARGS, unpack_new_doc},
    {"unpack_feed", unpack_feed_py, METH_VARARGS, unpack_feed_doc},
    {"unpack_finish", unpack_finish_py, METH_O, unpack_finish_doc},
    {"unpack_close", unpack_close_py, METH_O, unpack_close_doc},
    {"remove_tree", remove_tree_py, METH_VARARGS, remove_tree_doc},
    {NULL, NULL, 0, NULL},
};
