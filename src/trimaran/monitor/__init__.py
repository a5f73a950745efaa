"""The monitor's client: starting one, talking to one, reading what it recorded.

The monitor itself is ``native/monitor``; the protocol is docs/internals/monitor.md. Modules::

    launch    start a monitor for one process, and follow its report
    control   connect to a monitor that runs: attach, resize, start, wait
    exits     the exit record
    logs      read and follow the log that it writes

Nothing here needs more than ``os`` and ``_socket``, except :mod:`trimaran.monitor.logs`: launching lies on
the path that starts a container.
"""

from __future__ import annotations

from trimaran.monitor.control import Control
from trimaran.monitor.exits import Exit, monitor_alive, read_exit
from trimaran.monitor.launch import Launched, launch

__all__ = ["Control", "Exit", "Launched", "launch", "monitor_alive", "read_exit"]
