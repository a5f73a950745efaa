/* Makes system calls at random for a while: any number, and arguments that often mean something.
 *
 *     fuzz_calls SECONDS SEED
 *
 * Work is done by children, which may die; the parent starts others until the time is up, then prints how
 * many it started and exits with 0. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static char *memory;
enum { SIZE = 1 << 16 };
static const char *const names[] = {"/", "/tmp/a", "/tmp/b/c", "/proc/self/mem", "/proc/1/fd/0", "/dev/ptmx", "..",
                                    "/etc/passwd", "a", "", "/proc/self/exe", "/stub", "/dev/null", "/tmp/a/../../x"};

static uint64_t argument(void)
{
    switch (rnd() % 16) {
    case 0: case 1: case 2: case 3: return rnd() % 16;                   /* a descriptor, a small number */
    case 4: case 5: case 6: return (uint64_t)(memory + rnd() % SIZE);    /* memory, perhaps at its very end */
    case 7: case 8: return (uint64_t)names[rnd() % (sizeof names / sizeof *names)];
    case 9: return (uint64_t)-100;                                       /* AT_FDCWD */
    case 10: return 1ULL << rnd() % 64;
    case 11: return rnd() % 65536;
    case 12: return 0;
    case 13: return rnd();
    case 14: return (uint64_t)(-(int64_t)(rnd() % 4096));
    default: return rnd() % 0x2000000;                                   /* flags */
    }
}

/* Structures full of pointers and lengths. */
static void scramble(void)
{
    for (int i = 0; i < 64; i++) {
        uint64_t value = argument();
        memcpy(memory + rnd() % (SIZE - 8), &value, 8);
    }
}

static int skipped(long number)
{
    /* Those that would only end or stop the child itself. */
    return number == SYS_exit || number == SYS_exit_group || number == SYS_pause || number == SYS_rt_sigsuspend ||
           number == SYS_vfork || number == SYS_rt_sigtimedwait || number == SYS_rt_sigreturn;
}

static void child(void)
{
    memory = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(memory + SIZE, 4096);
    int pair[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    if (pipe(pair) < 0 || open("/tmp/a", O_RDWR | O_CREAT, 0600) < 0)
        _exit(2);
    open("/", O_RDONLY | O_DIRECTORY);
    socket(AF_INET, SOCK_DGRAM, 0);
    alarm(2);
    for (int i = 0; i < 3000; i++) {
        long number = rnd() % 100 ? (long)(rnd() % 470) : (long)rnd();
        if (skipped(number))
            continue;
        scramble();
        syscall(number, argument(), argument(), argument(), argument(), argument(), argument());
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    time_t end = time(NULL) + atoi(argv[1]);
    uint64_t seed = strtoull(argv[2], NULL, 10);
    int started = 0;

    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    while (time(NULL) < end) {
        pid_t pid = fork();
        if (!pid) {
            state = (seed + (uint64_t)started) * 0x9E3779B97F4A7C15ULL | 1;
            setsid();
            child();
        }
        if (pid > 0) {
            started++;
            int status, looks = 0;
            while (waitpid(pid, &status, WNOHANG) == 0 && looks++ < 60) {
                kill(pid, SIGCONT);
                usleep(10000);
            }
            kill(pid, SIGKILL);
            while (waitpid(-1, &status, WNOHANG) > 0)
                ;
        } else {
            usleep(1000);
        }
    }
    printf("started %d\n", started);
    return started ? 0 : 1;
}
