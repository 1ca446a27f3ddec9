"""How long a callback may wait for its answer: less when many wait, so that the crowd does not hold all connections."""

from __future__ import annotations

EASY = 2_000
"""Waiting callbacks up to which the full time is given."""
FULL = 20_000
SHORTEST = 1.0
"""Seconds given when ``FULL`` callbacks wait."""


def seconds_to_wait(waiting: int, longest: float) -> float:
    """Seconds for one more callback while ``waiting`` others wait already; ``longest`` when there is no load."""
    if waiting <= EASY or longest <= SHORTEST:
        return longest
    crowd = min(1.0, (waiting - EASY) / (FULL - EASY))
    return longest - (longest - SHORTEST) * crowd
