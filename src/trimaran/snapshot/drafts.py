"""Layers in the making, and their way to the disk: what all snapshotters have in common.

A draft is announced by an intent, which holds the layer's short name (paths of layers go into mount options,
which are limited) and makes others wait. The directory is ``layers/NAME.new`` until it is whole, then
``layers/NAME``; what makes it visible is its row in the database. So a process may die anywhere: without
the row both names are rubbish, and the intent tells which.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from trimaran.errors import KernelError
from trimaran.linux import _sys
from trimaran.snapshot.base import Draft
from trimaran.snapshot.register import Register
from trimaran.state import Intent

DRAFT, REMOVAL = "snapshot.draft", "snapshot.removal"
POLL_SECONDS = 0.05
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Shelf:
    """The directory of one driver's layers."""

    def __init__(self, path: str, register: Register) -> None:
        self.path = path
        self._register = register
        self._database = register.database
        os.makedirs(path, mode=0o700, exist_ok=True)

    def layer(self, name: str) -> str:
        """The path of a layer."""
        return os.path.join(self.path, name)

    def begin(self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None) -> Draft | None:
        """See :meth:`trimaran.snapshot.base.Snapshotter.prepare_layer`."""
        while not self._register.has(chain_id):
            if intent := self._claim(chain_id):
                name = _short(intent.id)
                path = self.layer(name) + ".new"
                self.discard(name)
                os.mkdir(path, 0o755)
                # Whatever the directory above hands down: its group, its set-group-ID bit, our umask.
                os.chown(path, os.geteuid(), os.getegid())
                os.chmod(path, 0o755)
                return Draft(chain_id, parent, name, path, intent)
            if waiting:
                waiting()
            time.sleep(POLL_SECONDS)
        return None

    def _claim(self, chain_id: str) -> Intent | None:
        """The right to make a layer, unless somebody alive has it."""
        with self._database.write() as connection:
            query = "SELECT id, kind, subject, owner FROM intent WHERE kind = ? AND subject = ?"
            for row in connection.execute(query, (self._kind, chain_id)).fetchall():
                if not Intent(row["id"], row["kind"], row["subject"], {}, row["owner"]).abandoned():
                    return None
            if self._register.has(chain_id):
                return None
            return self._database.announce(self._kind, chain_id)

    @property
    def _kind(self) -> str:
        return f"{DRAFT}.{self._register.driver}"

    def publish(self, draft: Draft, add_row: Callable[[], None], *, sync: bool) -> None:
        """Give a whole layer its name, and make it visible by ADD_ROW in one transaction."""
        if sync:
            self._sync()
        os.rename(draft.path, self.layer(draft.name))
        with self._database.write():
            add_row()
            self._database.withdraw(draft.intent)

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sys.syncfs(fd)
        finally:
            os.close(fd)

    def abort(self, draft: Draft) -> None:
        """Remove a draft; idempotent, and harmless once it is published."""
        if draft.name in self._register.names():
            return
        self.discard(draft.name)
        self._database.withdraw(draft.intent)

    def discard(self, name: str) -> None:
        """Remove all that a draft of this name may have left."""
        for suffix in (".new", ".new.img", ""):
            remove(self.path, name + suffix)

    def take_away(self, name: str, drop_row: Callable[[], object]) -> None:
        """Make a layer invisible by DROP_ROW, then remove its directory."""
        with self._database.write():
            drop_row()
            intent = self._database.announce(REMOVAL, name)
        remove(self.path, name)
        self._database.withdraw(intent)

    def recover(self) -> None:
        """Finish the removals, and remove the drafts, of processes that are dead."""
        names = self._register.names()
        for intent in self._database.abandoned():
            if intent.kind == REMOVAL and intent.subject not in names:
                remove(self.path, intent.subject)
                self._database.withdraw(intent)
            elif intent.kind == self._kind:
                if _short(intent.id) not in names:
                    self.discard(_short(intent.id))
                self._database.withdraw(intent)


def _short(number: int) -> str:
    """A number in base 36: never given twice, since intents are numbered on and on."""
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def remove(directory: str, name: str) -> None:
    """Remove a name within a directory, with all that is in it, if it is there. Raises KernelError."""
    fd = -1
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _sys.remove_tree(fd, os.fsencode(name))
    except FileNotFoundError:
        pass
    except OSError as error:
        path = os.path.join(directory, name)
        hint = "something is mounted in it; unmount that first" if error.errno == errno.EBUSY else ""
        raise KernelError(
            "unlinkat", error.errno or 0, path, message=f"cannot remove {path}", hint=hint
        ) from error
    finally:
        if fd >= 0:
            os.close(fd)
