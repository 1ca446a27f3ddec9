"""The platform's clock: real time, plus what a test has added to it."""

import time
from collections.abc import Callable

SHANGHAI_OFFSET = 8 * 3600  # seconds; WeChat counts its days in Asia/Shanghai, which has no summer time
DAY = 86_400
FURTHEST = 10 * 366 * DAY


class Clock:
    """Time as the platform sees it, in seconds since 1970.

    `now` dates everything that ages: CreateTime, windows, tokens, quotas. `wall` is the same clock without the
    advances, for the timestamp that a callback is signed with, so that a receiver which refuses stale signatures
    still accepts callbacks after a test has moved the platform two days on.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.wall = wall
        self.offset = 0.0

    def now(self) -> float:
        return self.wall() + self.offset

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`. Raises ValueError when they are negative or more than ten years."""
        if not 0 <= seconds <= FURTHEST:
            raise ValueError(f"advance: the clock only moves forward, by 0 to {FURTHEST} seconds at a time")
        self.offset += seconds


def shanghai_day(now: float) -> int:
    """The number of the calendar day in Asia/Shanghai: daily quotas start again at its midnight."""
    return int((now + SHANGHAI_OFFSET) // DAY)


def shanghai_month(now: float) -> str:
    """The calendar month in Asia/Shanghai as `YYYY-MM`."""
    return time.strftime("%Y-%m", time.gmtime(now + SHANGHAI_OFFSET))
