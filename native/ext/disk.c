/* What a file system does beyond files: project quotas, and writing all to the disk. */
#define _GNU_SOURCE
#include "ext.h"

#include <linux/fs.h>
#include <linux/quota.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

PyDoc_STRVAR(limit_project_doc,
"limit_project(fd, project, size) -> None\n\n"
"Put the directory FD, and what will be made in it, into a project, and limit that to SIZE bytes:\n"
"FS_IOC_FSSETXATTR of ioctl_fsxattr(2), Q_SETQUOTA of quotactl_fd(2).");

static int limit_project(int fd, uint32_t project, uint64_t size)
{
    struct fsxattr attributes;
    struct if_dqblk limits = {
        .dqb_bhardlimit = (size + QIF_DQBLKSIZE - 1) / QIF_DQBLKSIZE,
        .dqb_valid = QIF_BLIMITS,
    };

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes))
        return -1;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    attributes.fsx_projid = project;
    if (ioctl(fd, FS_IOC_FSSETXATTR, &attributes))
        return -1;
    return (int)syscall(SYS_quotactl_fd, fd, QCMD(Q_SETQUOTA, PRJQUOTA), project, &limits);
}

static PyObject *limit_project_py(PyObject *self, PyObject *args)
{
    int fd, result;
    unsigned project;
    unsigned long long size;

    (void)self;
    if (!PyArg_ParseTuple(args, "iIK", &fd, &project, &size))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = limit_project(fd, project, size);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(syncfs_doc,
"syncfs(fd) -> None\n\n"
"Write the file system that FD is on to its disk, without the GIL.");

static PyObject *syncfs_py(PyObject *self, PyObject *args)
{
    int fd, result;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = syncfs(fd);
    Py_END_ALLOW_THREADS
    if (result)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyMethodDef disk_methods[] = {
    {"limit_project", limit_project_py, METH_VARARGS, limit_project_doc},
    {"syncfs", syncfs_py, METH_VARARGS, syncfs_doc},
    {NULL, NULL, 0, NULL},
};
