/* Memory of another process: process_vm_readv(2), process_vm_writev(2). They honour its page protections. */
#define _GNU_SOURCE
#include "ext.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory.h"

enum { PAGE = 4096, CHUNK = 256 * 1024, STRINGS_LIMIT = 1 << 20 };

static PyObject *fail(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    errno = error;
    return NULL;
}

/* Bytes moved, or -1. A transfer that stops at a fault is short; one that starts with it fails. */
static ssize_t transfer(pid_t pid, uint64_t address, void *local, size_t length, bool writing)
{
    struct iovec here = {local, length}, there = {(void *)(uintptr_t)address, length};

    if (!length)
        return 0;
    return writing ? process_vm_writev(pid, &here, 1, &there, 1, 0) : process_vm_readv(pid, &here, 1, &there, 1, 0);
}

PyObject *memory_read(pid_t pid, uint64_t address, size_t length, bool partial)
{
    if (length > PY_SSIZE_T_MAX)
        return fail(EFAULT);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (!bytes)
        return NULL;
    ssize_t got = transfer(pid, address, PyBytes_AS_STRING(bytes), length, false);
    if (got < 0 || (!partial && (size_t)got != length)) {
        int error = got < 0 ? errno : EFAULT;
        Py_DECREF(bytes);
        return fail(error);
    }
    if ((size_t)got != length)
        _PyBytes_Resize(&bytes, got);
    return bytes;
}

PyObject *memory_read_string(pid_t pid, uint64_t address, size_t limit)
{
    char buffer[PAGE];
    size_t used = 0;

    if (limit > sizeof buffer)
        limit = sizeof buffer;
    while (used < limit) {
        /* To the end of the page: what lies behind may not be mapped. */
        size_t step = PAGE - (address + used) % PAGE;
        if (step > limit - used)
            step = limit - used;
        /* Most paths are short: try a little first. */
        if (!used && step > 256)
            step = 256;
        ssize_t got = transfer(pid, address + used, buffer + used, step, false);
        if (got <= 0)
            return fail(got ? errno : EFAULT);
        char *end = memchr(buffer + used, 0, (size_t)got);
        if (end)
            return PyBytes_FromStringAndSize(buffer, end - buffer);
        used += (size_t)got;
    }
    return fail(ENAMETOOLONG);
}

PyDoc_STRVAR(vm_read_doc,
"vm_read(pid, address, length, partial=False) -> bytes\n\n"
"Memory of process PID; with PARTIAL as much as is mapped. Raises OSError (EFAULT, ESRCH).");

static PyObject *vm_read(PyObject *self, PyObject *args)
{
    int pid, partial = 0;
    unsigned long long address;
    Py_ssize_t length;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKn|p", &pid, &address, &length, &partial))
        return NULL;
    if (length < 0)
        return fail(EINVAL);
    return memory_read(pid, address, (size_t)length, partial);
}

PyDoc_STRVAR(vm_read_string_doc,
"vm_read_string(pid, address) -> bytes\n\nThe string at ADDRESS, at most 4095 bytes. Raises OSError.");

static PyObject *vm_read_string(PyObject *self, PyObject *args)
{
    int pid;
    unsigned long long address;

    (void)self;
    if (!PyArg_ParseTuple(args, "iK", &pid, &address))
        return NULL;
    return memory_read_string(pid, address, PAGE);
}

PyDoc_STRVAR(vm_read_strings_doc,
"vm_read_strings(pid, address, limit) -> list[bytes]\n\n"
"The strings of a NULL-terminated array, as execve(2) takes them, each read once. E2BIG beyond LIMIT bytes.");

/* One string of any length up to LIMIT. */
static PyObject *read_long_string(pid_t pid, uint64_t address, size_t limit)
{
    PyObject *whole = memory_read_string(pid, address, PAGE);
    if (whole || errno != ENAMETOOLONG)
        return whole;
    PyErr_Clear();
    for (size_t size = 4 * PAGE; size <= limit * 2; size *= 2) {
        PyObject *bytes = memory_read(pid, address, size, true);
        if (!bytes)
            return NULL;
        char *start = PyBytes_AS_STRING(bytes);
        char *end = memchr(start, 0, (size_t)PyBytes_GET_SIZE(bytes));
        bool short_read = (size_t)PyBytes_GET_SIZE(bytes) < size;
        if (end)
            whole = PyBytes_FromStringAndSize(start, end - start);
        Py_DECREF(bytes);
        if (end)
            return whole;
        if (short_read)
            return fail(EFAULT);
    }
    return fail(E2BIG);
}

static PyObject *vm_read_strings(PyObject *self, PyObject *args)
{
    int pid;
    unsigned long long address;
    Py_ssize_t limit, used = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKn", &pid, &address, &limit))
        return NULL;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && address; i++) {
        uint64_t pointer = 0;
        if (transfer(pid, address + i * sizeof pointer, &pointer, sizeof pointer, false) != sizeof pointer) {
            Py_CLEAR(list);
            return fail(EFAULT);
        }
        if (!pointer)
            break;
        PyObject *string = read_long_string(pid, pointer, (size_t)limit);
        if (!string || PyList_Append(list, string) < 0)
            Py_CLEAR(list);
        used += (string ? PyBytes_GET_SIZE(string) : 0) + (Py_ssize_t)sizeof pointer + 1;
        Py_XDECREF(string);
        if (used > limit) {
            Py_CLEAR(list);
            return fail(E2BIG);
        }
    }
    return list;
}

PyDoc_STRVAR(vm_write_doc,
"vm_write(pid, address, data) -> int\n\nWrite into process PID; returns how much went before a fault.");

static PyObject *vm_write(PyObject *self, PyObject *args)
{
    int pid;
    unsigned long long address;
    Py_buffer data;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKy*", &pid, &address, &data))
        return NULL;
    ssize_t put = transfer(pid, address, data.buf, (size_t)data.len, true);
    int error = errno;
    PyBuffer_Release(&data);
    return put < 0 ? fail(error) : PyLong_FromSsize_t(put);
}

PyDoc_STRVAR(vm_from_file_doc,
"vm_from_file(fd, offset, pid, address, length) -> int\n\n"
"pread(2) from FD into process PID. A fault before the first byte raises EFAULT.");

static char chunk[CHUNK];

static PyObject *vm_from_file(PyObject *self, PyObject *args)
{
    int fd, pid;
    long long offset;
    unsigned long long address;
    Py_ssize_t length, done = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iLiKn", &fd, &offset, &pid, &address, &length))
        return NULL;
    while (done < length) {
        size_t step = length - done < CHUNK ? (size_t)(length - done) : (size_t)CHUNK;
        ssize_t got = pread(fd, chunk, step, offset + done);
        if (got < 0 && !done)
            return fail(errno);
        if (got <= 0)
            break;
        ssize_t put = transfer(pid, address + (uint64_t)done, chunk, (size_t)got, true);
        if (put < 0 && !done)
            return fail(errno);
        done += put > 0 ? put : 0;
        if (put != got || (size_t)got < step)
            break;
    }
    return PyLong_FromSsize_t(done);
}

PyDoc_STRVAR(vm_to_file_doc,
"vm_to_file(fd, offset, pid, address, length) -> int\n\n"
"pwrite(2) to FD from the memory of process PID. A fault before the first byte raises EFAULT.");

static PyObject *vm_to_file(PyObject *self, PyObject *args)
{
    int fd, pid;
    long long offset;
    unsigned long long address;
    Py_ssize_t length, done = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "iLiKn", &fd, &offset, &pid, &address, &length))
        return NULL;
    while (done < length) {
        size_t step = length - done < CHUNK ? (size_t)(length - done) : (size_t)CHUNK;
        ssize_t got = transfer(pid, address + (uint64_t)done, chunk, step, false);
        if (got < 0 && !done)
            return fail(errno);
        if (got <= 0)
            break;
        ssize_t put = pwrite(fd, chunk, (size_t)got, offset + done);
        if (put < 0 && !done)
            return fail(errno);
        done += put > 0 ? put : 0;
        if (put != got || (size_t)got < step)
            break;
    }
    return PyLong_FromSsize_t(done);
}

PyMethodDef memory_methods[] = {
    {"vm_read", vm_read, METH_VARARGS, vm_read_doc},
    {"vm_read_string", vm_read_string, METH_VARARGS, vm_read_string_doc},
    {"vm_read_strings", vm_read_strings, METH_VARARGS, vm_read_strings_doc},
    {"vm_write", vm_write, METH_VARARGS, vm_write_doc},
    {"vm_from_file", vm_from_file, METH_VARARGS, vm_from_file_doc},
    {"vm_to_file", vm_to_file, METH_VARARGS, vm_to_file_doc},
    {NULL, NULL, 0, NULL},
};
