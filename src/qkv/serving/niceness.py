"""How what computes gives way to the event loop."""

from __future__ import annotations

import os
import sys
import threading

# The event loop goes first: its turns are short, and clients wait for them.
COMPUTING_NICENESS = 5


def give_way() -> None:
    """Have this thread, and those that it starts, wait for the event loop rather than it for them.

    A server that was started nicer than that stays so: only the superuser may take it back.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        this = threading.get_native_id()
        niceness = max(os.getpriority(os.PRIO_PROCESS, this), COMPUTING_NICENESS)
        os.setpriority(os.PRIO_PROCESS, this, niceness)
