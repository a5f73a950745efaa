/* trimaran-init: executes a plan, reports, and is gone; the process it made is its caller's child.
 *
 *   trimaran-init PRESERVE [listen] [close:FD ...]
 *
 * Descriptors: 0 to 2 the process's stdio; 3 to 2+PRESERVE what the process inherits besides; then the plan,
 * the peer socket, and with `listen` the listening socket that `start` will come to. On the peer socket it
 * says `pid PID LEFT` (LEFT: a process of ours that the caller must reap, or 0) or `error ...`.
 */
#define _GNU_SOURCE
#include "plan.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char text[64];
    struct plan *plan;
    struct plan_error error = {.index = -1};

    if (argc < 2) {
        fputs("trimaran-init is started by trimaran, with a plan\n", stderr);
        return 125;
    }
    int preserve = atoi(argv[1]);
    struct plan_inputs inputs = {
        .stdio = {-1, -1, -1},
        .peer = 4 + preserve,
        .listener = -1,
        .preserve = preserve,
        .sibling = true,
    };
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "listen"))
            inputs.listener = 5 + preserve;
        else if (!strncmp(argv[i], "close:", 6))
            close(atoi(argv[i] + 6));
    }
    if (plan_load(&plan, 3 + preserve, &error)) {
        report_error(inputs.peer, &error);
        return 125;
    }
    close(3 + preserve);
    pid_t pid = plan_start(plan, &inputs, NULL, &error);
    pid_t left = plan_left(plan);
    plan_free(plan);
    if (pid < 0) {
        if (error.index != -2)
            report_error(inputs.peer, &error);
        return 125;
    }
    int length = snprintf(text, sizeof text, "pid %d %d", (int)pid, (int)left);
    return send(inputs.peer, text, (size_t)length, MSG_NOSIGNAL) == length ? 0 : 125;
}
