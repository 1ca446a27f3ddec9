"""Whether a follower says the same again: the last text of each, as a hash, for a minute, bounded."""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.lately import Lately

SECONDS = 60.0
ENTRIES = 50_000


class Repeats:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: Lately[tuple[float, int, int]] = Lately(SECONDS, ENTRIES // 2, clock)

    def seen(self, account: str, openid: str, text: str, key: str) -> bool:
        """Record a text; True when it is the same as the follower's last, less than a minute ago.

        ``key`` is the message's id: WeChat's second try of one message is no repetition of it.
        """
        who, what, which, now = hash((account, openid)), hash(text.strip()), hash(key), self._clock()
        last = self._last.get(who)
        if last is not None and last[2] == which:
            return False
        self._last.put(who, (now, what, which))
        return last is not None and last[1] == what and now - last[0] < SECONDS

    def forget(self) -> None:
        """To be called now and then: let go of what is old."""
        self._last.forget()
