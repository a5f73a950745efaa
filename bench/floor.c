/*
 * The kernel floor: the least work that makes the namespaces and the mounts of a default container, runs a
 * program in it and waits for its end. No cgroup, no seccomp, no configuration, no state.
 *
 *     floor ROOTFS SCRATCH COUNT [net]
 *
 * ROOTFS holds a static program at /bin/true and the directories to mount on; SCRATCH is an empty directory
 * for the overlay. Prints the nanoseconds of each run, one a line. With "net" a network namespace is made too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const masked[] = {
	"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats",
	"proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats", "sys/firmware",
};
static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const struct {
	const char *name;
	unsigned major, minor;
} devices[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

static void check(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		_exit(125);
	}
}

static void mount_on(const char *type, const char *target, unsigned long flags, const char *data)
{
	check(mount(type, target, type, flags, data), target);
}

static void make_devices(void)
{
	mount_on("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64k");
	check(mkdir("dev/pts", 0755), "dev/pts");
	check(mkdir("dev/shm", 0755), "dev/shm");
	check(mkdir("dev/mqueue", 0755), "dev/mqueue");
	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		char path[32];
		snprintf(path, sizeof(path), "dev/%s", devices[i].name);
		check(mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), path);
	}
	check(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
	check(symlink("/proc/self/fd/0", "dev/stdin"), "dev/stdin");
	check(symlink("/proc/self/fd/1", "dev/stdout"), "dev/stdout");
	check(symlink("/proc/self/fd/2", "dev/stderr"), "dev/stderr");
	check(symlink("pts/ptmx", "dev/ptmx"), "dev/ptmx");
	mount_on("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_on("tmpfs", "dev/shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
	mount_on("mqueue", "dev/mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
}

static void hide(void)
{
	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++) {
		struct stat status;
		if (stat(masked[i], &status) < 0)
			continue;
		if (S_ISDIR(status.st_mode))
			mount_on("tmpfs", masked[i], MS_RDONLY, "size=0k");
		else
			check(mount("dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
	}
	for (size_t i = 0; i < sizeof(read_only) / sizeof(*read_only); i++) {
		if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0 && errno == ENOENT)
			continue;
		check(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), read_only[i]);
	}
}

static void container(const char *scratch, const char *overlay)
{
	char root[512];
	snprintf(root, sizeof(root), "%s/merged", scratch);
	check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "propagation");
	mount_on("overlay", root, 0, overlay);
	check(chdir(root), root);
	mount_on("proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
	make_devices();
	mount_on("sysfs", "sys", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
	hide();
	check((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
	check(umount2(".", MNT_DETACH), "umount");
	check(sethostname("floor", 5), "sethostname");
	execl("/bin/true", "true", (char *)NULL);
	check(-1, "/bin/true");
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static uint64_t run(const char *scratch, const char *overlay, uint64_t flags)
{
	struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
	uint64_t begin = now();
	int status;
	long child = syscall(SYS_clone3, &arguments, sizeof(arguments));
	check((int)child, "clone3");
	if (child == 0)
		container(scratch, overlay);
	check(waitpid((pid_t)child, &status, 0), "waitpid");
	if (status != 0) {
		fprintf(stderr, "floor: the container ended with status %#x\n", (unsigned)status);
		exit(1);
	}
	return now() - begin;
}

int main(int argc, char **argv)
{
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
	char overlay[2048], path[512];
	if (argc < 4) {
		fputs("usage: floor ROOTFS SCRATCH COUNT [net]\n", stderr);
		return 2;
	}
	if (argc > 4 && strcmp(argv[4], "net") == 0)
		flags |= CLONE_NEWNET;
	for (const char *const *name = (const char *const[]){"upper", "work", "merged", NULL}; *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", argv[2], *name);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			check(-1, path);
	}
	snprintf(overlay, sizeof(overlay), "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", argv[1], argv[2], argv[2]);
	for (int left = atoi(argv[3]); left > 0; left--)
		printf("%llu\n", (unsigned long long)run(argv[2], overlay, flags));
	return 0;
}
