/* The container's terminal: made in its own devpts, its master handed to the peer. */
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static int send_master(int peer, int master)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec text = {(void *)"console", 7};
    struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &master, sizeof master);
    return sendmsg(peer, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int open_master(struct run *run, int root)
{
    struct statfs filesystem;
    int unlock = 0, master = open_in_root(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0);
    if (master < 0)
        return fail(run, "open", "/dev/pts/ptmx");
    if (fstatfs(master, &filesystem) == 0 && filesystem.f_type == DEVPTS_SUPER_MAGIC &&
        ioctl(master, TIOCSPTLCK, &unlock) == 0)
        return master;
    fail_with(run, ENODEV, "terminal", "/dev/pts/ptmx");
    close(master);
    return -1;
}

/* The terminal is bound by its descriptor: no name below /dev/pts is looked up. */
static int bind_console(struct run *run, int root, int terminal)
{
    int target = make_target(root, "dev/console", true, IN_NO_LINKS);
    if (target < 0)
        return fail(run, "console", "/dev/console");
    int tree = (int)syscall(SYS_open_tree, terminal, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    int result = tree < 0 || syscall(SYS_move_mount, tree, "", target, "",
                                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
                     ? fail(run, "console", "/dev/console") : 0;
    if (tree >= 0)
        close(tree);
    close(target);
    return result;
}

static int use_terminal(struct run *run, const struct operation *op, int root, int master, int terminal)
{
    struct winsize size = {.ws_row = (unsigned short)op->args[1].number, .ws_col = (unsigned short)op->args[2].number};
    uint64_t owner_and_bind = op->args[3].number;

    if (size.ws_row && ioctl(terminal, TIOCSWINSZ, &size) < 0)
        return fail(run, "ioctl", "TIOCSWINSZ");
    if (fchown(terminal, (uid_t)owner_and_bind, (gid_t)-1) < 0 || fchmod(terminal, 0620) < 0)
        return fail(run, "chown", "terminal");
    if (owner_and_bind >> 32 && bind_console(run, root, terminal))
        return -1;
    if (send_master(run->inputs.peer, master) < 0)
        return fail(run, "sendmsg", "console");
    if (ioctl(terminal, TIOCSCTTY, 0) < 0)
        return fail(run, "ioctl", "TIOCSCTTY");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(terminal, fd) < 0)
            return fail(run, "dup2", "terminal");
    return 0;
}

/* root, rows, columns, uid of the owner with bit 32 set if it shall be /dev/console too */
int op_console(struct run *run, const struct operation *op)
{
    int root = slot_fd(run, &op->args[0]);
    int master = open_master(run, root);
    if (master < 0)
        return -1;
    int result, terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0) {
        result = fail(run, "ioctl", "TIOCGPTPEER");
    } else {
        result = use_terminal(run, op, root, master, terminal);
        close(terminal);
    }
    close(master);
    return result;
}
