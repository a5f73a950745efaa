"""The engine's tables. Times are nanoseconds since the epoch; JSON columns hold what their comment names."""

from __future__ import annotations

from trimaran.state import Area

_FIRST = """
CREATE TABLE container (
    id TEXT PRIMARY KEY,            -- 64 hexadecimal digits
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL,            -- as it was asked for
    image_id TEXT NOT NULL,         -- digest of the image's configuration
    image_digest TEXT NOT NULL,     -- digest of the image's manifest
    isolation TEXT NOT NULL,        -- native, sandbox, vm, oci:PATH
    state TEXT NOT NULL,            -- created, starting, running, paused, exited, removing
    boot TEXT NOT NULL,             -- the boot of the host that this state is of
    pid INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    started INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER NOT NULL DEFAULT 0,
    oom INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '', -- why it could not be started
    restarts INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0, -- 1: someone asked it to stop, so it is not restarted
    lease TEXT NOT NULL DEFAULT '', -- the process without which it shall not be: an owner_identity()
    options TEXT NOT NULL,          -- JSON: what it was created with
    labels TEXT NOT NULL,           -- JSON
    command TEXT NOT NULL,          -- JSON: the program and its arguments
    mounts TEXT NOT NULL            -- JSON: trimaran.volume.model.MountRequest
) STRICT, WITHOUT ROWID;
CREATE TABLE exit (
    container TEXT NOT NULL REFERENCES container(id) ON DELETE CASCADE,
    started INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    exit_code INTEGER NOT NULL,
    oom INTEGER NOT NULL
) STRICT;
CREATE INDEX exit_container ON exit(container);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    type TEXT NOT NULL,             -- container, image, network, volume
    action TEXT NOT NULL,           -- create, start, die, ...
    actor TEXT NOT NULL,            -- the id of what it happened to
    attributes TEXT NOT NULL        -- JSON
) STRICT;
CREATE TABLE health (
    container TEXT PRIMARY KEY REFERENCES container(id) ON DELETE CASCADE,
    status TEXT NOT NULL,           -- starting, healthy, unhealthy
    failing INTEGER NOT NULL,       -- failures in a row
    log TEXT NOT NULL               -- JSON: the last five probes
) STRICT, WITHOUT ROWID;
"""

AREA = Area("engine", _FIRST)
