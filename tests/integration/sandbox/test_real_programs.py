"""Real programs of this machine, unmodified, on its own root directory as the image."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tests.support.sandboxes import Box

from trimaran.isolation import Root

HOST = Root(lower=("/",))

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def sh(box: Box, script: str, **more: object) -> subprocess.CompletedProcess:
    result = box.run(["/bin/bash", "-c", f"cd /tmp; {script}"], root=HOST, timeout=150, **more)
    assert "fault in" not in box.log, box.log
    return result


def test_coreutils_and_shell(box: Box) -> None:
    script = (
        "seq 1 2000 | sort -R | sort -n | tail -1; cp -a /etc/apt a; diff -r /etc/apt a && echo same; "
        "ln -s a b; readlink b; chmod 640 a; stat -c %a a; (sleep 0.1; echo late) & wait; "
        "echo x{1..3} | tr ' ' '\\n' | wc -l; find a -type f | xargs -n1 cat > /dev/null && echo read"
    )
    assert sh(box, script).stdout.split() == ["2000", "same", "a", "640", "late", "3", "read"]


@pytest.mark.peer("git")
def test_git(box: Box) -> None:
    script = (
        "git init -q r; cd r; git config user.email a@b; git config user.name n; echo hi > f; git add f; "
        "git commit -qm one; git log --oneline | wc -l; cd ..; git clone -q r s; cat s/f"
    )
    assert sh(box, script).stdout.split() == ["1", "hi"]


@pytest.mark.peer("gcc")
def test_gcc_compiles_and_runs(box: Box) -> None:
    program = 'int puts(const char *); int main(){puts("built");return 7;}'
    script = f"echo '{program}' > a.c; gcc a.c -o a; ./a; echo $?"
    assert sh(box, script).stdout.split() == ["built", "7"]


@pytest.mark.peer("sqlite3")
def test_sqlite(box: Box) -> None:
    statements = "create table t(x); insert into t values(1),(2); select sum(x) from t"
    script = f"sqlite3 d 'pragma journal_mode=wal; {statements}'"
    assert sh(box, script).stdout.split() == ["wal", "3"]


@pytest.mark.peer("perl")
def test_perl_forks_and_pipes(box: Box) -> None:
    script = "perl -e 'fork or exit 3; wait; print $?>>8, \" \", `echo sub`'"
    assert sh(box, script).stdout == "3 sub\n"


@pytest.mark.peer("tar", "rsync")
def test_tar_and_rsync_of_many_files(box: Box) -> None:
    directories = 100 if os.environ.get("TRIMARAN_SOAK") == "1" else 10
    script = (
        f"mkdir m; for d in $(seq {directories}); do mkdir m/$d; "
        "for f in $(seq 100); do echo $f > m/$d/$f; done; done; "
        "tar cf m.tar m; mkdir o; tar xf m.tar -C o; find o -type f | wc -l; "
        "rsync -a m/ r/; diff -r m r && echo same"
    )
    assert sh(box, script).stdout.split() == [str(100 * directories), "same"]


@pytest.mark.peer("redis-server")
def test_redis(box: Box) -> None:
    script = (
        "redis-server --save '' > log & sleep 1; redis-cli set a b; redis-cli get a; "
        "redis-benchmark -q -n 500 -t set | grep -c SET; redis-cli shutdown nosave; wait"
    )
    assert sh(box, script).stdout.split()[:2] == ["OK", "b"]


@pytest.mark.peer("node")
def test_node_serves_itself(box: Box) -> None:
    program = (
        'const h=require("http");h.createServer((q,r)=>r.end("ok")).listen(8080,()=>'
        'h.get("http://127.0.0.1:8080",r=>r.on("data",d=>{console.log(""+d);process.exit()})))'
    )
    assert sh(box, f"node -e '{program}'").stdout == "ok\n"


POSTGRES = """
mkdir p; chown postgres p
B=$(echo /usr/lib/postgresql/*/bin)
su postgres -c "cd /tmp
$B/initdb -D p/d -A trust > p/log 2>&1
$B/pg_ctl -D p/d -o '-k /tmp/p' -w -l p/l start > /dev/null
psql -At -h /tmp/p -c 'select 40+2' postgres
$B/pgbench -h /tmp/p -i -q postgres 2> /dev/null
$B/pgbench -h /tmp/p -c 2 -t 10 postgres 2>&1 | grep -c 'processed: 20/20'
$B/pg_ctl -D p/d -m fast stop"
"""


@pytest.mark.skipif(not shutil.which("psql"), reason="needs postgresql")
def test_postgresql(box: Box) -> None:
    assert sh(box, POSTGRES).stdout.split()[:2] == ["42", "1"]
