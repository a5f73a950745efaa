/* What the stub and the supervisor (trimaran/sandbox/tracee/stub.py) agree on. */
#ifndef TRIMARAN_STUB_H
#define TRIMARAN_STUB_H

#include <stdint.h>

/* Call numbers that no kernel has. */
#define TRIMARAN_HELLO 0x7401
#define TRIMARAN_IMAGE 0x7402
#define TRIMARAN_REPORT 0x7403

enum { MAPPINGS = 24 };

/* One mmap(2). Bytes from zero_from to zero_to are cleared after it, unless zero_from is 0. */
struct mapping {
    uint64_t address;
    uint64_t length;
    uint64_t offset;
    uint64_t zero_from;
    uint64_t zero_to;
    int32_t protection;
    int32_t flags;
    int32_t fd;
    int32_t unused;
};

struct image {
    uint64_t entry;
    uint64_t stack;
    char name[16];
    uint32_t count;
    uint32_t unused;
    struct mapping mappings[MAPPINGS];
};

#endif
