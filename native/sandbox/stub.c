/* The only file in a sandboxed process's real root: it asks the supervisor what to become, and becomes it.
 *
 * Linked at a fixed address, so that the seccomp filter can tell its calls by the instruction pointer:
 * only from here are execve("/stub") and file mappings executed by the kernel without a notification. That
 * grants nothing: a process that jumps in here can only execute this same file, and map descriptors which
 * the supervisor itself has put in its table. */
#include <linux/mman.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "stub.h"

#if defined(__x86_64__)
static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Registers start out as the ABI asks: rdx (a function for atexit) zero, the rest free. */
static _Noreturn void jump(uint64_t entry, uint64_t stack)
{
    __asm__ volatile("mov %1, %%rsp\n\txor %%edx, %%edx\n\txor %%ebp, %%ebp\n\tjmp *%0" : : "a"(entry), "c"(stack) : "memory");
    __builtin_unreachable();
}

/* The supervisor redirects a task to trimaran_exec to make it leave its image, and to trimaran_call to let it
 * execute a native call in the place of another: registers are then taken back from the frame at the stack
 * pointer (struct call_frame in ext/sandbox.c), so that the program sees nothing but the result. From
 * trimaran_report the supervisor is told that result first, and answers with another. */
__asm__(".section .text.head, \"ax\"\n"
        ".balign 64\n"
        ".globl _start\n"
        "_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall become\n"
        ".balign 64\n"
        ".globl trimaran_exec\n"
        "trimaran_exec:\n\tlea path(%rip), %rdi\n\txor %esi, %esi\n\txor %edx, %edx\n"
        "\tmov $59, %eax\n\tsyscall\n\tmov $127, %edi\n\tmov $231, %eax\n\tsyscall\n"
        "path:\t.asciz \"/stub\"\n"
        ".balign 64\n"
        ".globl trimaran_call\n"
        "trimaran_call:\n\tsyscall\n1:\tmov (%rsp), %rdi\n\tmov 8(%rsp), %rsi\n\tmov 16(%rsp), %rdx\n"
        "\tmov 24(%rsp), %r10\n\tmov 32(%rsp), %r8\n\tmov 40(%rsp), %rcx\n\tmov 48(%rsp), %rsp\n\tjmp *%rcx\n"
        ".balign 64\n"
        ".globl trimaran_report\n"
        "trimaran_report:\n\tsyscall\n\tmov %rax, %rdi\n\tmov $0x7403, %eax\n\tsyscall\n\tjmp 1b\n"
        ".previous\n");
#elif defined(__aarch64__)
static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

static _Noreturn void jump(uint64_t entry, uint64_t stack)
{
    register uint64_t x16 __asm__("x16") = entry;
    register uint64_t x17 __asm__("x17") = stack;

    __asm__ volatile("mov sp, %1\n\tmov x0, xzr\n\tmov x29, xzr\n\tmov x30, xzr\n\tbr %0" : : "r"(x16), "r"(x17) : "memory");
    __builtin_unreachable();
}

__asm__(".section .text.head, \"ax\"\n"
        ".balign 64\n"
        ".globl _start\n"
        "_start:\n\tmov x0, sp\n\tb become\n"
        ".balign 64\n"
        ".globl trimaran_exec\n"
        "trimaran_exec:\n\tadr x0, path\n\tmov x1, xzr\n\tmov x2, xzr\n"
        "\tmov x8, #221\n\tsvc 0\n\tmov x0, #127\n\tmov x8, #94\n\tsvc 0\n"
        "path:\t.asciz \"/stub\"\n"
        ".balign 64\n"
        ".globl trimaran_call\n"
        "trimaran_call:\n\tsvc 0\n1:\tldr x1, [sp, #8]\n\tldp x2, x3, [sp, #16]\n\tldr x4, [sp, #32]\n"
        "\tldr x16, [sp, #40]\n\tldr x17, [sp, #48]\n\tldr x8, [sp, #56]\n\tmov sp, x17\n\tbr x16\n"
        ".balign 64\n"
        ".globl trimaran_report\n"
        "trimaran_report:\n\tsvc 0\n\tmov x8, #0x7403\n\tsvc 0\n\tb 1b\n"
        ".previous\n");
#else
#error "unknown architecture"
#endif

static _Noreturn void give_up(void)
{
    for (;;)
        call(SYS_exit_group, 127, 0, 0, 0, 0, 0);
}

/* Grow the stack to ADDRESS: the kernel grows it only for the task itself. */
static void reach(uint64_t from, uint64_t address)
{
    for (uint64_t at = from & ~4095UL; at >= address && at; at -= 4096)
        *(volatile char *)at;
}

static void zero(uint64_t from, uint64_t to)
{
    for (volatile char *at = (char *)from; (uint64_t)at < to; at++)
        *at = 0;
}

/* Called by _start, with the stack pointer that the kernel gave. */
_Noreturn void become(uint64_t stack);

_Noreturn void become(uint64_t stack)
{
    struct image image;

    /* The first answer says how much stack the arguments need, the second fills them and the image in. */
    long below = call(TRIMARAN_HELLO, (long)stack, (long)&image, 0, 0, 0, 0);
    if (below < 0)
        give_up();
    reach((uint64_t)__builtin_frame_address(0), stack - (uint64_t)below);
    if (call(TRIMARAN_IMAGE, (long)stack, (long)&image, 0, 0, 0, 0) < 0)
        give_up();
    for (uint32_t i = 0; i < image.count; i++) {
        const struct mapping *m = &image.mappings[i];
        if (call(SYS_mmap, (long)m->address, (long)m->length, m->protection, m->flags, m->fd, (long)m->offset) < 0)
            give_up();
        if (m->zero_from)
            zero(m->zero_from, m->zero_to);
    }
    call(SYS_prctl, 15 /* PR_SET_NAME */, (long)image.name, 0, 0, 0, 0);
    call(SYS_close_range, 0, ~0U, 0, 0, 0, 0);
    jump(image.entry, image.stack);
}
