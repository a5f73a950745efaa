"""Who a process is: users, groups, capabilities (credentials(7), capabilities(7))."""

from __future__ import annotations

import errno as E
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.task import CAP_SETGID, CAP_SETUID, Credentials, Task

KEEP = 0xFFFFFFFF
CAP_V3 = 0x20080522
CAP_VERSIONS = {0x19980330: 1, 0x20071026: 2, CAP_V3: 2}


def sys_getuid(task: Task, *_: int) -> int:
    return task.process.cred.uid


def sys_geteuid(task: Task, *_: int) -> int:
    return task.process.cred.euid


def sys_getgid(task: Task, *_: int) -> int:
    return task.process.cred.gid


def sys_getegid(task: Task, *_: int) -> int:
    return task.process.cred.egid


def _put_three(task: Task, addresses: tuple[int, int, int], values: tuple[int, int, int]) -> int:
    for address, value in zip(addresses, values, strict=True):
        task.process.kernel.put(task, address, struct.pack("=I", value))
    return 0


def sys_getresuid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    cred = task.process.cred
    return _put_three(task, (real, effective, saved), (cred.uid, cred.euid, cred.suid))


def sys_getresgid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    cred = task.process.cred
    return _put_three(task, (real, effective, saved), (cred.gid, cred.egid, cred.sgid))


def _adjust_capabilities(old: Credentials, new: Credentials) -> None:
    """What a change of user does to capabilities (capabilities(7), "Effect of user ID changes")."""
    had_root = 0 in (old.uid, old.euid, old.suid)
    if had_root and 0 not in (new.uid, new.euid, new.suid) and not new.keep:
        new.permitted = new.effective = new.ambient = 0
    if old.euid == 0 and new.euid != 0:
        new.effective = 0
    elif old.euid != 0 and new.euid == 0:
        new.effective = new.permitted


def _set_user(task: Task, uid: int, euid: int, suid: int) -> int:
    """Set the three user numbers; KEEP leaves one."""
    old = task.process.cred
    allowed = (old.uid, old.euid, old.suid)
    if not old.capable(CAP_SETUID):
        if any(value != KEEP and value not in allowed for value in (uid, euid, suid)):
            raise Fail(E.EPERM)
    new = old.copy()
    new.uid = old.uid if uid == KEEP else uid
    new.euid = old.euid if euid == KEEP else euid
    new.suid = old.suid if suid == KEEP else suid
    new.fsuid = new.euid
    _adjust_capabilities(old, new)
    task.process.cred = new
    return 0


def _set_group(task: Task, gid: int, egid: int, sgid: int) -> int:
    old = task.process.cred
    allowed = (old.gid, old.egid, old.sgid)
    if not old.capable(CAP_SETGID):
        if any(value != KEEP and value not in allowed for value in (gid, egid, sgid)):
            raise Fail(E.EPERM)
    new = old.copy()
    new.gid = old.gid if gid == KEEP else gid
    new.egid = old.egid if egid == KEEP else egid
    new.sgid = old.sgid if sgid == KEEP else sgid
    new.fsgid = new.egid
    task.process.cred = new
    return 0


def sys_setuid(task: Task, uid: int, *_: int) -> int:
    uid &= KEEP
    if uid == KEEP:
        raise Fail(E.EINVAL)
    if task.process.cred.capable(CAP_SETUID):
        return _set_user(task, uid, uid, uid)
    if uid not in (task.process.cred.uid, task.process.cred.suid):
        raise Fail(E.EPERM)
    return _set_user(task, KEEP, uid, KEEP)


def sys_setgid(task: Task, gid: int, *_: int) -> int:
    gid &= KEEP
    if gid == KEEP:
        raise Fail(E.EINVAL)
    if task.process.cred.capable(CAP_SETGID):
        return _set_group(task, gid, gid, gid)
    if gid not in (task.process.cred.gid, task.process.cred.sgid):
        raise Fail(E.EPERM)
    return _set_group(task, KEEP, gid, KEEP)


def sys_setreuid(task: Task, uid: int, euid: int, *_: int) -> int:
    uid, euid = uid & KEEP, euid & KEEP
    old = task.process.cred
    saved = KEEP
    if uid != KEEP or (euid != KEEP and euid != old.uid):
        saved = old.euid if euid == KEEP else euid
    if not old.capable(CAP_SETUID):
        if uid not in (KEEP, old.uid, old.euid) or euid not in (KEEP, old.uid, old.euid, old.suid):
            raise Fail(E.EPERM)
    return _set_user(task, uid, euid, saved)


def sys_setregid(task: Task, gid: int, egid: int, *_: int) -> int:
    gid, egid = gid & KEEP, egid & KEEP
    old = task.process.cred
    saved = KEEP
    if gid != KEEP or (egid != KEEP and egid != old.gid):
        saved = old.egid if egid == KEEP else egid
    if not old.capable(CAP_SETGID):
        if gid not in (KEEP, old.gid, old.egid) or egid not in (KEEP, old.gid, old.egid, old.sgid):
            raise Fail(E.EPERM)
    return _set_group(task, gid, egid, saved)


def sys_setresuid(task: Task, uid: int, euid: int, suid: int, *_: int) -> int:
    return _set_user(task, uid & KEEP, euid & KEEP, suid & KEEP)


def sys_setresgid(task: Task, gid: int, egid: int, sgid: int, *_: int) -> int:
    return _set_group(task, gid & KEEP, egid & KEEP, sgid & KEEP)


def sys_setfsuid(task: Task, uid: int, *_: int) -> int:
    cred, uid = task.process.cred, uid & KEEP
    old = cred.fsuid
    if uid in (cred.uid, cred.euid, cred.suid, cred.fsuid) or (uid != KEEP and cred.capable(CAP_SETUID)):
        cred.fsuid = uid
    return old


def sys_setfsgid(task: Task, gid: int, *_: int) -> int:
    cred, gid = task.process.cred, gid & KEEP
    old = cred.fsgid
    if gid in (cred.gid, cred.egid, cred.sgid, cred.fsgid) or (gid != KEEP and cred.capable(CAP_SETGID)):
        cred.fsgid = gid
    return old


def sys_getgroups(task: Task, size: int, address: int, *_: int) -> int:
    groups = task.process.cred.groups
    if size & 0x80000000:
        raise Fail(E.EINVAL)
    if size:
        if size < len(groups):
            raise Fail(E.EINVAL)
        task.process.kernel.put(task, address, struct.pack(f"={len(groups)}I", *groups))
    return len(groups)


def sys_setgroups(task: Task, size: int, address: int, *_: int) -> int:
    if not task.process.cred.capable(CAP_SETGID):
        raise Fail(E.EPERM)
    size &= KEEP
    if size > 65536:
        raise Fail(E.EINVAL)
    new = task.process.cred.copy()
    new.groups = struct.unpack(f"={size}I", _sys.vm_read(task.tid, address, 4 * size))
    task.process.cred = new
    return 0


def _header(task: Task, address: int) -> tuple[int, Credentials]:
    """How many words a capability header asks for, and of whom."""
    version, pid = struct.unpack("=Ii", _sys.vm_read(task.tid, address, 8))
    if version not in CAP_VERSIONS:
        task.process.kernel.put(task, address, struct.pack("=I", CAP_V3))
        raise Fail(E.EINVAL)
    if pid < 0:
        raise Fail(E.EINVAL)
    process = task.process
    if pid and pid != process.pid:
        found = process.kernel.by_pid.get(pid)
        if found is None:
            found = next((t.process for t in process.kernel.tasks.values() if t.guest_tid == pid), None)
        if found is None:
            raise Fail(E.ESRCH)
        process = found
    return CAP_VERSIONS[version], process.cred


def sys_capget(task: Task, header: int, data: int, *_: int) -> int:
    words, cred = _header(task, header)
    if not data:
        return 0
    low, high = [], []
    for mask in (cred.effective, cred.permitted, cred.inheritable):
        low.append(mask & KEEP)
        high.append(mask >> 32)
    record = struct.pack("=III", *low) + (struct.pack("=III", *high) if words == 2 else b"")
    task.process.kernel.put(task, data, record)
    return 0


def sys_capset(task: Task, header: int, data: int, *_: int) -> int:
    words, cred = _header(task, header)
    if cred is not task.process.cred:
        raise Fail(E.EPERM)
    values = struct.unpack(f"={3 * words}I", _sys.vm_read(task.tid, data, 12 * words))
    masks = [values[i] | (values[i + 3] << 32 if words == 2 else 0) for i in range(3)]
    effective, permitted, inheritable = masks
    if (
        permitted & ~cred.permitted
        or effective & ~permitted
        or inheritable & ~(cred.inheritable | cred.permitted)
    ):
        raise Fail(E.EPERM)
    new = cred.copy()
    new.effective, new.permitted, new.inheritable = effective, permitted, inheritable
    new.ambient &= permitted & inheritable
    task.process.cred = new
    return 0
