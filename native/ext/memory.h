/* Reading the memory of another process, for the extension's files. memory.c */
#ifndef TRIMARAN_MEMORY_H
#define TRIMARAN_MEMORY_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* LENGTH bytes at ADDRESS, or as many as are mapped if PARTIAL; sets OSError (errno stays set) on a fault. */
PyObject *memory_read(pid_t pid, uint64_t address, size_t length, bool partial);

/* The string at ADDRESS without its NUL; ENAMETOOLONG if none ends within LIMIT bytes. */
PyObject *memory_read_string(pid_t pid, uint64_t address, size_t limit);

#endif
