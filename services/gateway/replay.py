"""Replay: what the journal holds goes onto the bus as soon as the bus takes it, and after a restart."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

from chassis import logs, metrics
from chassis.amqp import Bus
from chassis.publisher import Publisher
from contracts.errors import PublishFailed
from services.gateway.journal import Damaged, Journal, read

log = logs.get(__name__)

POLL_SECONDS = 0.5
Record = tuple[str, str, bytes]
"""Exchange, routing key and event."""
GROUP = 512
"""Records put to the bus before their confirms are awaited: bounds the memory of a long replay."""


class Replayer:
    """Publishes the journal's segments, oldest first. Killed in the middle it starts the segment again: ids dedupe."""

    def __init__(self, journal: Journal, bus: Bus, publisher: Publisher) -> None:
        self._journal = journal
        self._bus = bus
        self._publisher = publisher

    async def keep(self) -> None:
        """Replay whenever there is something and the bus is up, for ever."""
        alarmed = False
        while True:
            if self._journal.alarm != alarmed:
                alarmed = self._journal.alarm
                log.error("the journal is large" if alarmed else "the journal is small again", bytes=self._journal.size)
            if not self._journal.empty and self._bus.ready:
                try:
                    for path in await self._journal.rotate():
                        await self._segment(path)
                except PublishFailed as error:
                    log.warning("the bus does not take the journal yet", reason=str(error))
                except OSError as error:
                    log.error("the journal cannot be read", error=repr(error))
            await asyncio.sleep(POLL_SECONDS)

    async def _segment(self, path: Path) -> None:
        count = 0
        damaged = False
        records = read(path)
        while True:
            group: list[Record] = []
            try:
                group.extend(islice(records, GROUP))
            except Damaged:
                damaged = True
            if not group:
                break
            # The first goes alone: on a bus that only looks alive, one time-out is enough to know.
            await self._publish(group[:1])
            await self._publish(group[1:])
            count += len(group)
        self._journal.forget(path, damaged=damaged)
        metrics.journal_records.labels("replayed").inc(count)
        log.info("journal segment replayed", segment=path.name, records=count)

    async def _publish(self, records: list[Record]) -> None:
        confirms = {self._publisher.put(event, exchange, key) for exchange, key, event in records}
        if confirms:
            # Live callbacks share these batches: a replay that is stopped must not take them along.
            await asyncio.wait(confirms)
        for confirmed in confirms:
            confirmed.result()
