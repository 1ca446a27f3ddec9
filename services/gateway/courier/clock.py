"""One clock for all couriers: the time as MongoDB's server tells it.

Leases, budgets and windows are shared by processes on several machines, whose own clocks differ and jump. Between
readings the time goes on by the process's monotonic clock, so a step of the machine's clock changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from chassis import logs
from chassis.mongo import Database, timed
from contracts.errors import Unavailable

log = logs.get(__name__)

Clock = Callable[[], datetime]

SYNC_SECONDS = 30.0


class ServerClock:
    """Reads the server's time now and then. Before the first reading it is the machine's own time."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._read_at = monotonic()

    def __call__(self) -> datetime:
        return self._base + timedelta(seconds=self._monotonic() - self._read_at)

    async def sync(self) -> None:
        """Read the server's time. Raises ``Unavailable`` when MongoDB is away."""
        asked = self._monotonic()
        with timed("hello"):
            answer = await self._database.command("hello")
        answered = self._monotonic()
        told: datetime = answer["localTime"]
        # The driver gives this one answer without its time zone, which is UTC.
        self._base = told if told.tzinfo else told.replace(tzinfo=UTC)
        self._read_at = (asked + answered) / 2

    async def keep(self) -> None:
        """Read it for ever. While MongoDB is away the last reading goes on."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await self.sync()
            except Unavailable as error:
                log.warning("the server's time was not read", reason=str(error))
