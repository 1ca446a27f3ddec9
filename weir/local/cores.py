"""One core is kept free for answering.

On a machine that runs everything, what happens behind the gateway (the broker, the rules, the storing) would move to
any core that is free for a moment, the gateway's included, and push it out of its caches. Kept to the other cores it
left a quarter more callbacks a second on two cores (4,700 before, 6,000 after, at 256 connections). In a cluster this
is the scheduler's business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Set as AbstractSet

Cores = AbstractSet[int]


def keep_one_free() -> Cores:
    """Keep this process, and all it will start, off the first core; the cores there were before."""
    if sys.platform != "linux":
        return frozenset()
    cores = frozenset(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})
    return cores


def give(pid: int, cores: Cores) -> None:
    """Let a process that has just been started use these cores."""
    if sys.platform == "linux" and cores:
        try:
            os.sched_setaffinity(pid, cores)
        except ProcessLookupError:  # it has ended already, and whoever started it will notice
            return
