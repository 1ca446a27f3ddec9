"""The dead-letter brake: a consumer whose every event dies stops, instead of emptying its queue into the dead letters.

That is what a bad deploy looks like. After ``limit`` deaths in a row the consumer holds still for ``hold`` seconds,
then tries one delivery: one success lets it run, one more death holds it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chassis import logs, metrics

log = logs.get(__name__)


class Brake:
    def __init__(
        self,
        name: str,
        *,
        limit: int = 20,
        hold: float = 30.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._name = name
        self._limit = limit
        self._hold = hold
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._deaths = 0
        self._until = 0.0
        self._released = asyncio.Event()

    @property
    def on(self) -> bool:
        return self._until > 0 and self._clock() < self._until

    def good(self) -> None:
        """An event was handled: whatever was wrong is over."""
        if self._deaths:
            self._deaths = 0
            self._until = 0.0
            metrics.consumer_brake.labels(self._name).set(0)

    def dead(self) -> None:
        """An event went to the dead letters."""
        self._deaths += 1
        if self._deaths >= self._limit:
            self._until = self._clock() + self._hold
            metrics.consumer_brake.labels(self._name).set(1)
            log.error("every event dies: holding still", queue=self._name, deaths=self._deaths, seconds=self._hold)

    async def wait(self) -> None:
        """Return when the consumer may go on."""
        while self.on and not self._released.is_set():
            try:
                async with asyncio.timeout(max(0.0, self._until - self._clock())):
                    await self._released.wait()
            except TimeoutError:
                pass

    def release(self) -> None:
        """Let go for good: the process is stopping."""
        self._released.set()
