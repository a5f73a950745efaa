"""S2: memory that a second thread changes meanwhile is read once: what was checked is what is used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support import sandboxes

SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile char path[16] = "/evil";
static volatile int done;

static void *flip(void *unused)
{
    (void)unused;
    while (!done) {
        for (int i = 1; i < 5; i++)
            path[i] = "/good"[i];
        for (int i = 1; i < 5; i++)
            path[i] = "/evil"[i];
    }
    return 0;
}

int main(void)
{
    pthread_t thread;
    time_t end = time(0) + 3;
    long good = 0, refused = 0, evil = 0;

    pthread_create(&thread, 0, flip, 0);
    while (time(0) < end) {
        char text[8] = "";
        int fd = open((const char *)path, O_RDONLY);
        if (fd < 0) {
            refused += errno == EACCES;
            continue;
        }
        if (read(fd, text, 4) == 4 && !strcmp(text, "evil"))
            evil++;
        else
            good++;
        close(fd);
    }
    done = 1;
    pthread_join(thread, 0);
    printf("%ld %ld %ld\n", good, refused, evil);
    return 0;
}
"""

PROGRAM = """
import errno
from trimaran.sandbox.hooks import deny
def hooks(hooks):
    hooks.files(lambda call: deny(errno.EACCES) if call.path == b"/evil" else None)
"""

pytestmark = pytest.mark.peer("busybox", "gcc")


def test_a_path_that_is_swapped_never_gets_past_its_check(tmp_path: Path) -> None:
    (tmp_path / "race.c").write_text(SOURCE)
    (tmp_path / "program.py").write_text(PROGRAM)
    with sandboxes.box() as box:
        image = Path(box.root().lower[0])
        (image / "good").write_text("good")
        (image / "evil").write_text("evil")
        subprocess.run(
            ["gcc", "-O1", "-static", "-pthread", "-o", str(image / "bin/race"), str(tmp_path / "race.c")],
            check=True,
        )
        result = box.run(["race"], options={"sandbox.program": str(tmp_path / "program.py")})
    good, refused, evil = map(int, result.stdout.split())
    assert good > 10
    assert refused > 10
    assert evil == 0
