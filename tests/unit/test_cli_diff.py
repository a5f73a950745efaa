"""What trimaran diff shows."""

from __future__ import annotations

from trimaran.cli.diff import own_changes
from trimaran.snapshot import Change

OURS = {b"/etc/hosts", b"/etc/hostname"}


def test_the_engines_own_files_are_not_shown() -> None:
    etc, hosts, mine = Change(b"/etc", "changed"), Change(b"/etc/hosts", "added"), Change(b"/etc/x", "added")
    assert own_changes([etc, hosts], OURS) == []
    assert own_changes([etc, hosts, mine], OURS) == [etc, mine]


def test_but_what_the_container_did_to_them_is() -> None:
    changed = [Change(b"/etc", "changed"), Change(b"/etc/hosts", "deleted")]
    assert own_changes(changed, OURS) == changed
