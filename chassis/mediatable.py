"""The media library as its readers need it: which names there are, and the id of each that WeChat still knows.

A copy in memory of the courier's collection ``media``, read anew every second, so that an answer costs no round trip.
Without MongoDB the last known copy goes on; an id in it ends by the clock all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chassis import logs
from chassis.mongo import Database, timed
from contracts.content import Content, with_media
from contracts.errors import Unavailable

log = logs.get(__name__)

EVERY_SECONDS = 1.0
MARGIN = timedelta(minutes=5)
"""An id that ends within this is not given out: our clock and WeChat's may differ."""

_FIELDS = {"account": 1, "name": 1, "kind": 1, "media_id": 1, "expires_at": 1}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Entry:
    kind: str
    media_id: str
    expires_at: datetime | None


class MediaTable:
    """Reads only: the courier alone writes ``media``."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = _now) -> None:
        self._rows = database["media"]
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}

    async def look(self) -> None:
        """Read the library. Raises ``Unavailable``."""
        with timed("find"):
            rows = await self._rows.find({}, _FIELDS).to_list(None)
        self._entries = {
            (row["account"], row["name"]): _Entry(row["kind"], row.get("media_id", ""), row.get("expires_at"))
            for row in rows
        }

    async def keep(self) -> None:
        """Read it again and again."""
        while True:
            try:
                await self.look()
            except Unavailable:
                pass
            except Exception:
                log.exception("reading the media library failed")
            await asyncio.sleep(EVERY_SECONDS)

    def resolve(self, account: str, content: Content) -> Content:
        """The content with an id in place of its name; as it is when there is none at hand: the courier sees to it."""

        def lookup(name: str, kind: str) -> str | None:
            entry = self._entries.get((account, name))
            if entry is None or entry.kind != kind or not entry.media_id or entry.expires_at is None:
                return None
            return entry.media_id if entry.expires_at > self._clock() + MARGIN else None

        return with_media(content, lookup) or content

    async def names(self, account: str) -> frozenset[str]:
        """The names that the account's library has right now. Raises ``Unavailable``."""
        with timed("find"):
            rows = await self._rows.find({"account": account}, {"name": 1}).to_list(None)
        return frozenset(row["name"] for row in rows)
