/* What the extension's files share. Each file defines one method table; module.c lists the tables. */
#ifndef TRIMARAN_EXT_H
#define TRIMARAN_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* process.c: clone3, pidfd */
extern PyMethodDef process_methods[];
/* tree.c: layers onto directories, and directories away */
extern PyMethodDef tree_methods[];
/* mount.c: mounts and paths by descriptor */
extern PyMethodDef mount_methods[];
/* disk.c: quotas, syncfs */
extern PyMethodDef disk_methods[];

/* machine.c: for the VMM */
extern PyMethodDef machine_methods[];

/* netns.c: sockets in other network namespaces, setns, unshare */
extern PyMethodDef netns_methods[];

/* notify.c: taking and answering seccomp notifications */
extern PyMethodDef notify_methods[];

/* memory.c: memory of another process */
extern PyMethodDef memory_methods[];

/* sandbox.c: starting and redirecting a sandboxed task */
extern PyMethodDef sandbox_methods[];

#endif
