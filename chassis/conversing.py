"""Who is in a conversation with a person, or waits for one: a copy in memory of what is open in ``conversations``.

The agent service owns that collection. The gateway and autoreply need to know with every message, and a question to
MongoDB for each would cost more than all the rest of it; so each process asks twice a second for what has changed. With
MongoDB away the last known conversations go on.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis import logs
from chassis.mongo import DESCENDING, Database, PyMongoError, timed
from contracts.errors import Unavailable

log = logs.get(__name__)

POLL_SECONDS = 0.5
WHOLE_SECONDS = 60.0
"""How often everything is read, not what changed alone: whatever went wrong with a change is mended by then."""
OVERLAP = timedelta(seconds=2)
"""Changes are asked for from so long before the last one seen: two that are written at once show in any order."""
EXPECTED_SECONDS = 10.0
"""How long a follower whom this process handed over counts as waiting before the conversation is seen."""

COLLECTION = "conversations"
WAITING, ASSIGNED, CLOSED = "waiting", "assigned", "closed"

_FIELDS = {"account": 1, "openid": 1, "state": 1, "priority": 1, "since": 1, "changed": 1}
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_Place = tuple[int, datetime, str]
"""Where somebody stands in the queue: by priority, then by time."""


class _Line:
    """The queue of one account."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.expected: dict[str, float] = {}
        """Followers handed over by this process and not seen waiting yet, by when that stops to count."""
        self._order: list[_Place] | None = None

    def put(self, openid: str, place: _Place | None) -> None:
        self.expected.pop(openid, None)
        self._order = None
        if place is None:
            self.places.pop(openid, None)
        else:
            self.places[openid] = place

    def position(self, openid: str, now: float) -> int:
        self.expected = {name: until for name, until in self.expected.items() if until > now}
        place = self.places.get(openid)
        if place is None:
            ahead = list(self.expected)
            return len(self.places) + (ahead.index(openid) if openid in self.expected else len(ahead)) + 1
        if self._order is None:
            self._order = sorted(self.places.values())
        return bisect_left(self._order, place) + 1


class Conversing:
    """The open conversations of every account. ``clock`` is monotonic, in seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._collection = database[COLLECTION]
        self._clock = clock
        self._open: dict[tuple[str, str], str] = {}
        """The open conversation of each follower, by its id."""
        self._assigned: set[tuple[str, str]] = set()
        self._lines: dict[str, _Line] = {}
        self._newest = _NEVER
        self._whole_at = -WHOLE_SECONDS
        self._reached = True

    def assigned(self, account: str, openid: str) -> bool:
        """Whether a person talks with this follower."""
        return (account, openid) in self._assigned

    def waiting(self, account: str, openid: str) -> bool:
        """Whether this follower waits for a person, as far as is known here."""
        line = self._lines.get(account)
        return line is not None and (openid in line.places or line.expected.get(openid, 0.0) > self._clock())

    def position(self, account: str, openid: str) -> int:
        """The place in the account's queue, from 1: theirs when they wait already, else the one that comes next."""
        line = self._lines.get(account)
        return line.position(openid, self._clock()) if line else 1

    def expect(self, account: str, openid: str) -> None:
        """This follower is handed over right now: whoever comes next comes after them."""
        line = self._lines.setdefault(account, _Line())
        if openid not in line.places and (account, openid) not in self._assigned:
            line.expected.setdefault(openid, self._clock() + EXPECTED_SECONDS)

    def learn(self, documents: Iterable[dict[str, Any]]) -> None:
        """Take in conversations as they are now, oldest change first."""
        for document in documents:
            self._newest = max(self._newest, document["changed"])
            account, openid, name = document["account"], document["openid"], document["_id"]
            follower, state = (account, openid), document["state"]
            if state == CLOSED:
                if self._open.get(follower, name) != name:
                    continue  # they have another one by now
                self._open.pop(follower, None)
            else:
                self._open[follower] = name
            place = (-document["priority"], document["since"], name) if state == WAITING else None
            self._lines.setdefault(account, _Line()).put(openid, place)
            (self._assigned.add if state == ASSIGNED else self._assigned.discard)(follower)

    async def refresh(self) -> None:
        """Ask for what changed. Raises ``Unavailable``, and ``PyMongoError`` for what should not happen."""
        now = self._clock()
        if now - self._whole_at < WHOLE_SECONDS:
            with timed("find"):
                # The index on `changed` gives them in its order, so that a conversation closed and another opened at
                # once for the same follower end as what came last.
                self.learn(
                    await self._collection.find({"changed": {"$gte": self._newest - OVERLAP}}, _FIELDS)
                    .sort("changed")
                    .to_list(None)
                )
            return
        with timed("find"):
            last = await self._collection.find_one({}, {"changed": 1}, sort=[("changed", DESCENDING)])
            found = await self._collection.find({"open": True}, _FIELDS).sort("changed").to_list(None)
        expected = {account: line.expected for account, line in self._lines.items()}
        self._open, self._assigned, self._lines = {}, set(), {}
        for account, openids in expected.items():
            self._lines[account] = line = _Line()
            line.expected = openids
        self.learn(found)
        if last:
            self._newest = max(self._newest, last["changed"])
        self._whole_at = now

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
                self._reached = True
            except (Unavailable, PyMongoError) as error:
                if self._reached:
                    log.warning("open conversations cannot be read, the last known ones go on", reason=repr(error))
                self._reached = False
            await asyncio.sleep(POLL_SECONDS)

    async def taken(self, followers: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these followers a person talks with, as MongoDB has it right now. Raises ``Unavailable``."""
        wanted = [{"account": account, "openid": openid, "open": True} for account, openid in followers]
        if not wanted:
            return set()
        with timed("find"):
            found = await self._collection.find({"$or": wanted}, _FIELDS).to_list(None)
        return {(one["account"], one["openid"]) for one in found if one["state"] == ASSIGNED}
