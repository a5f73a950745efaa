/* What a VMM needs beyond ioctl(2): where a buffer lies, and how fast the time-stamp counter runs. */
#define _GNU_SOURCE
#include "ext.h"

#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { CALIBRATION_NS = 10 * 1000 * 1000 };

PyDoc_STRVAR(buffer_address_doc,
"buffer_address(buffer) -> int\n\n"
"The address of a writable buffer's first byte. It is valid as long as the buffer lives and keeps its size.");

static PyObject *buffer_address(PyObject *self, PyObject *object)
{
    Py_buffer view;

    (void)self;
    if (PyObject_GetBuffer(object, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    PyObject *address = PyLong_FromVoidPtr(view.buf);
    PyBuffer_Release(&view);
    return address;
}

PyDoc_STRVAR(tsc_khz_doc,
"tsc_khz() -> int\n\n"
"The frequency of the time-stamp counter, measured for 10 ms; 0 where there is none.");

static PyObject *tsc_khz(PyObject *self, PyObject *unused)
{
    unsigned long long khz = 0;

    (void)self;
    (void)unused;
#if defined(__x86_64__)
    struct timespec start, now;
    long long elapsed;

    clock_gettime(CLOCK_MONOTONIC_RAW, &start);
    unsigned long long first = __rdtsc();
    Py_BEGIN_ALLOW_THREADS
    do {
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        elapsed = (now.tv_sec - start.tv_sec) * 1000000000LL + (now.tv_nsec - start.tv_nsec);
    } while (elapsed < CALIBRATION_NS);
    Py_END_ALLOW_THREADS
    khz = (unsigned long long)((double)(__rdtsc() - first) * 1e6 / (double)elapsed);
#endif
    return PyLong_FromUnsignedLongLong(khz);
}

PyMethodDef machine_methods[] = {
    {"buffer_address", buffer_address, METH_O, buffer_address_doc},
    {"tsc_khz", tsc_khz, METH_NOARGS, tsc_khz_doc},
    {NULL, NULL, 0, NULL},
};
