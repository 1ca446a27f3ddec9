"""Who waits for which answer: one entry per event, so that an answer leaves once and by one way.

The claim between "passive" and "by API" is made here, in one process and one thread, for every callback this gateway
holds. What another gateway may hold as well (WeChat's retry of a callback) is claimed in the ledger, see ``webhook``.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from contracts.envelope import Event, encode
from contracts.facts import Decision
from services.gateway.lately import Lately

KEEP_SECONDS = 60.0
KEEP_ENTRIES = 100_000
"""Settled events that are remembered: longer than WeChat's retries last, bounded whatever the rate."""
KEEP_UNDECIDED = 20_000
TICK = 0.05
"""Seconds: how exactly deadlines are kept."""

RETRY_AFTER = 4.0
"""Seconds after which a repeated callback is WeChat's retry of one it had no answer to (it gives up after 5)."""


class State(enum.Enum):
    """How an event was settled."""

    PASSIVE = 1
    """Answered on a connection that was open when the answer was written, or nothing is to be said."""
    CUT = 2
    """Answered, but the connection was gone: WeChat will ask again and gets the answer then."""
    API = 3
    """Told ``success``; an answer that comes goes out through the courier."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An event as it was published, to be asked again if the bus loses the answer."""

    key: str
    event: Event

    @property
    def encoded(self) -> bytes:
        """The event as nobody waits for its answer: what answers it goes to the courier."""
        return encode(msgspec.structs.replace(self.event, replyto="", deadline=None))


@dataclass(slots=True)
class Waiting:
    """A callback, and its repetitions, that wait for an answer."""

    answered: asyncio.Future[str | None]
    """The reply's XML, safe to be sent; None when there is nothing to say, or nothing in time."""
    accepted: asyncio.Future[bool]
    """Whether the event is with the bus (else it is on the disk, and its answer leaves by the API), or the error that
    neither took it. No connection is told anything before this is known."""
    deadline: float
    asked: Asked
    openid: str
    source: str
    careful: bool
    """Another gateway may hold the same callback: the answer needs a claim in the ledger first."""
    decision: Decision | None = None
    """Set when it comes: from then on the answer is this callback's, whatever the deadline."""
    turn: int = 1
    """Counts the connections: the last one is the one WeChat listens to."""
    began: float = 0.0


class Answers:
    """The table of events in waiting and of those settled lately. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}
        self._settled: Lately[tuple[float, State]] = Lately(KEEP_SECONDS, KEEP_ENTRIES // 2, clock)
        self._undecided: OrderedDict[str, tuple[float, Asked]] = OrderedDict()
        # Keys by the tick of their deadline; not in order, because a crowd shortens the waits of those who come later.
        self._deadlines: dict[int, list[str]] = {}
        self._ticked = int(clock() / TICK)
        self._bus_lost = -1.0

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self, key: str) -> Waiting | None:
        return self._waiting.get(key)

    def settled(self, key: str) -> tuple[float, State] | None:
        """(Seconds ago, how) an event was settled, or None when it is not known here (any more)."""
        found = self._settled.get(key)
        if found is None or (ago := self._clock() - found[0]) > KEEP_SECONDS:
            return None
        return ago, found[1]

    def wait(self, key: str, seconds: float, asked: Asked, openid: str, source: str, *, careful: bool) -> Waiting:
        """Begin to wait for an event's answer."""
        now = self._clock()
        loop = asyncio.get_running_loop()
        waiting = Waiting(
            loop.create_future(), loop.create_future(), now + seconds, asked, openid, source, careful, began=now
        )
        self._waiting[key] = waiting
        tick = int(waiting.deadline / TICK) + 1
        try:
            self._deadlines[tick].append(key)
        except KeyError:
            self._deadlines[tick] = [key]
        return waiting

    def settle(self, key: str, state: State) -> Asked | None:
        """Record how an event ended; what must be asked again because the bus lost its answer, if so."""
        waiting = self._waiting.pop(key, None)
        now = self._clock()
        self._settled.put(key, (now, state))
        if state is not State.API or waiting is None or waiting.decision is not None:
            return None
        if waiting.began < self._bus_lost:
            return waiting.asked
        self._undecided[key] = (now, waiting.asked)
        if len(self._undecided) > KEEP_UNDECIDED:
            self._undecided.popitem(last=False)
        return None

    def decided(self, key: str) -> None:
        """Its decision came, late."""
        self._undecided.pop(key, None)

    def bus_lost(self) -> list[Asked]:
        """The reply queue is gone with what was in it: what to ask again now."""
        self._bus_lost = self._clock()
        again = [asked for _, asked in self._undecided.values()]
        self._undecided.clear()
        return again

    def forget(self, key: str, error: Exception) -> None:
        """It was not kept after all: every connection that asked gets the error, and WeChat's next try starts anew."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        for future in (waiting.accepted, waiting.answered):
            if not future.done():
                future.set_exception(error)
            if not future.cancelled():
                future.exception()  # read, in case nobody else asks

    def expire(self) -> int:
        """End the waits whose deadline has passed, and drop old memories; how many waits ended."""
        now = self._clock()
        ended = 0
        first, self._ticked = self._ticked, int(now / TICK)
        for tick in range(first, self._ticked + 1):
            for key in self._deadlines.pop(tick, ()):
                waiting = self._waiting.get(key)
                # An event that is asked for again waits anew, under a later tick.
                if waiting and waiting.deadline <= now and not waiting.decision and not waiting.answered.done():
                    waiting.answered.set_result(None)
                    ended += 1
        self._settled.forget()
        while self._undecided and next(iter(self._undecided.values()))[0] < now - KEEP_SECONDS:
            self._undecided.popitem(last=False)
        return ended
