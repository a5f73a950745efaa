/* What the host can ask for. Each operation is close to one system call; the host composes them. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { RESULT_SIZE = 256 << 10, DIRECTORY_MODE = 0755 };

/* s: text without NUL inside; b: any bytes; n: u64. */
struct operation {
    const char *signature;
    int (*run)(const struct call *call, char *result, size_t *size);
};

static uint64_t number(const struct call *call, int index)
{
    uint64_t value;

    memcpy(&value, call->arguments[index].data, sizeof value);
    return value;
}

static const char *text(const struct call *call, int index)
{
    return call->arguments[index].data;
}

/* NULL for an empty text, where mount(2) makes a difference. */
static const char *text_or_null(const struct call *call, int index)
{
    return call->arguments[index].size ? call->arguments[index].data : NULL;
}

static int op_module(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return module_load(text(call, 0));
}

/* Makes the directory and its parents. */
static int op_mkdir(const struct call *call, char *result, size_t *size)
{
    char *path = call->arguments[0].data;

    (void)result;
    *size = 0;
    if (path[0] != '/')
        return EINVAL;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, DIRECTORY_MODE) < 0 && errno != EEXIST)
            return errno;
        *slash = '/';
    }
    return mkdir(path, (mode_t)number(call, 1)) < 0 && errno != EEXIST ? errno : 0;
}

/* source, target, type, flags, data */
static int op_mount(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return mount(text(call, 0), text(call, 1), text_or_null(call, 2), number(call, 3), text_or_null(call, 4)) < 0
               ? errno
               : 0;
}

static int op_umount(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return umount2(text(call, 0), (int)number(call, 1)) < 0 ? errno : 0;
}

/* path, open(2) flags beside O_WRONLY, mode, data; in one write, as cgroup files want it */
static int op_write(const struct call *call, char *result, size_t *size)
{
    const struct argument *data = &call->arguments[3];
    int fd = open(text(call, 0), O_WRONLY | O_CLOEXEC | (int)number(call, 1), (mode_t)number(call, 2));

    (void)result;
    *size = 0;
    if (fd < 0)
        return errno;
    ssize_t n = write(fd, data->data, data->size);
    int error = n < 0 ? errno : (size_t)n < data->size ? EIO : 0;
    if (close(fd) < 0 && !error)
        error = errno;
    return error;
}

/* path; at most RESULT_SIZE bytes */
static int op_read(const struct call *call, char *result, size_t *size)
{
    int fd = open(text(call, 0), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t done = 0, limit = *size;
    ssize_t n = 0;

    *size = 0;
    if (fd < 0)
        return errno;
    while (done < limit && (n = read(fd, result + done, limit - done)) > 0)
        done += (size_t)n;
    int error = n < 0 ? errno : 0;
    close(fd);
    *size = error ? 0 : done;
    return error;
}

static int op_rmdir(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return rmdir(text(call, 0)) < 0 ? errno : 0;
}

/* A netlink message with NLM_F_ACK for NETLINK_ROUTE; the answer's errno. */
static int op_netlink(const struct call *call, char *result, size_t *size)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    const struct argument *message = &call->arguments[0];
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[8192];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), error = 0;

    (void)result;
    *size = 0;
    if (fd < 0)
        return errno;
    if (sendto(fd, message->data, message->size, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0 ||
        recv(fd, &answer, sizeof answer, 0) < 0)
        error = errno;
    else if (answer.header.nlmsg_type == NLMSG_ERROR)
        error = -answer.error.error;
    close(fd);
    return error;
}

static int op_clock(const struct call *call, char *result, size_t *size)
{
    struct timespec now = {.tv_sec = (time_t)number(call, 0), .tv_nsec = (long)number(call, 1)};

    (void)result;
    *size = 0;
    return clock_settime(CLOCK_REALTIME, &now) < 0 ? errno : 0;
}

/* Seeds the kernel's generator and makes it start anew from the seed: what a clone needs. random(4) */
static int op_entropy(const struct call *call, char *result, size_t *size)
{
    const struct argument *seed = &call->arguments[0];
    struct rand_pool_info *info = allocate(sizeof *info + seed->size);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC), error = 0;

    (void)result;
    *size = 0;
    info->entropy_count = (int)seed->size * 8;
    info->buf_size = (int)seed->size;
    memcpy(info->buf, seed->data, seed->size);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, info) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        error = errno;
    explicit_bzero(info->buf, seed->size);
    free(info);
    if (fd >= 0)
        close(fd);
    return error;
}

static int op_hostname(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return sethostname(call->arguments[0].data, call->arguments[0].size) < 0 ? errno : 0;
}

static int op_process(const struct call *call, char *result, size_t *size)
{
    return process_create(call, result, size);
}

static int op_start(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return process_start((uint32_t)number(call, 0), call->number);
}

static int op_signal(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return process_signal((uint32_t)number(call, 0), (int)number(call, 1));
}

static int op_resize(const struct call *call, char *result, size_t *size)
{
    (void)result;
    *size = 0;
    return process_resize((uint32_t)number(call, 0), (int)number(call, 1), (int)number(call, 2));
}

/* target, mount options (the descriptor is added), channel: a FUSE file system whose server is the host */
static int op_share(const struct call *call, char *result, size_t *size)
{
    char options[512];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    (void)result;
    *size = 0;
    if (fd < 0)
        return errno;
    snprintf(options, sizeof options, "fd=%d,%s", fd, text(call, 1));
    if (mount("trimaran", text(call, 0), "fuse", number(call, 3), options) < 0) {
        int error = errno;
        close(fd);
        return error;
    }
    return channel_message((uint32_t)number(call, 2), fd);
}

static int op_uname(const struct call *call, char *result, size_t *size)
{
    struct utsname name;

    (void)call;
    uname(&name);
    *size = (size_t)snprintf(result, *size, "%s", name.release);
    return 0;
}

static int op_poweroff(const struct call *call, char *result, size_t *size)
{
    (void)call;
    (void)result;
    *size = 0;
    sync();
    /* A microVM has no power to switch off: what ends it is the reset. */
    reboot(RB_AUTOBOOT);
    return errno;
}

static int op_sync(const struct call *call, char *result, size_t *size)
{
    (void)call;
    (void)result;
    *size = 0;
    sync();
    return 0;
}

/* The numbers are the protocol's: src/trimaran/vm/agent/protocol.py has the same. */
static const struct operation operations[] = {
    [1] = {"s", op_module},   [2] = {"sn", op_mkdir},    [3] = {"sssns", op_mount}, [4] = {"sn", op_umount},
    [5] = {"snnb", op_write}, [6] = {"s", op_read},      [7] = {"s", op_rmdir},     [8] = {"b", op_netlink},
    [9] = {"nn", op_clock},   [10] = {"b", op_entropy},  [11] = {"s", op_hostname}, [12] = {"nbnnnn", op_process},
    [13] = {"n", op_start},   [14] = {"nn", op_signal},  [15] = {"nnn", op_resize}, [16] = {"ssnn", op_share},
    [17] = {"", op_uname},    [18] = {"", op_poweroff},  [19] = {"", op_sync},
};

/* Splits DATA (u16 operation, then u32 length and bytes of each argument) in place: the length that follows an
 * argument is read before its first byte becomes the NUL that ends the argument as a text. */
bool call_parse(struct call *call, char *data, size_t size)
{
    size_t at = 2;
    uint32_t length;

    call->count = 0;
    if (size < at)
        return false;
    memcpy(&call->operation, data, sizeof call->operation);
    while (at < size) {
        if (call->count == MAX_ARGUMENTS || size - at < sizeof length)
            return false;
        memcpy(&length, data + at, sizeof length);
        data[at] = 0;
        at += sizeof length;
        if (length > size - at)
            return false;
        call->arguments[call->count++] = (struct argument){data + at, length};
        at += length;
    }
    data[size] = 0;
    return true;
}

static bool matches(const struct call *call, const char *signature)
{
    if ((size_t)call->count != strlen(signature))
        return false;
    for (int i = 0; i < call->count; i++) {
        const struct argument *argument = &call->arguments[i];
        if (signature[i] == 'n' && argument->size != sizeof(uint64_t))
            return false;
        if (signature[i] == 's' && memchr(argument->data, 0, argument->size))
            return false;
    }
    return true;
}

void call_run(const struct call *call)
{
    static char result[RESULT_SIZE];
    size_t size = sizeof result;

    if (call->operation >= sizeof operations / sizeof *operations || !operations[call->operation].run) {
        link_reply(call->number, ENOSYS, NULL, 0);
        return;
    }
    const struct operation *operation = &operations[call->operation];
    if (!matches(call, operation->signature)) {
        link_reply(call->number, EINVAL, NULL, 0);
        return;
    }
    int error = operation->run(call, result, &size);
    if (error >= 0)
        link_reply(call->number, error, result, size);
}
