"""What the gateway must not lose: published with a confirm, else into the journal."""

from __future__ import annotations

import asyncio

from chassis.publisher import Publication, Publisher
from contracts.envelope import encode
from contracts.errors import PublishFailed
from services.gateway.journal import Journal, JournalError


class Outbox:
    def __init__(self, publisher: Publisher, journal: Journal) -> None:
        self._publisher = publisher
        self._journal = journal

    @property
    def healthy(self) -> bool:
        return self._publisher.healthy

    def put(self, encoded: bytes, exchange: str, key: str) -> asyncio.Future[None]:
        """Give it to the bus; see ``Publisher.put``."""
        return self._publisher.put(encoded, exchange, key)

    async def keep(self, encoded: bytes, exchange: str, key: str) -> None:
        """Make it durable, one way or the other. Raises ``JournalError`` when bus and disk both fail."""
        tried = self._publisher.healthy
        if tried:
            try:
                await asyncio.shield(self._publisher.put(encoded, exchange, key))
                return
            except PublishFailed:
                pass
        await self.journal(encoded, exchange, key, or_bus=not tried)

    async def journal(self, encoded: bytes, exchange: str, key: str, *, or_bus: bool = False) -> None:
        """Onto the disk. ``or_bus``: when the disk fails, give a bus that failed lately another try.

        With a broken disk nothing is ever replayed, and replay is how a bus is found to be well again.
        """
        try:
            await self._journal.append(exchange, key, encoded)
        except JournalError:
            if not or_bus:
                raise
            try:
                await asyncio.shield(self._publisher.put(encoded, exchange, key))
            except PublishFailed as error:
                raise JournalError(f"neither the disk nor the bus takes it: {error}") from error

    async def publish(self, publication: Publication) -> None:
        """As ``keep``, for a publication."""
        await self.keep(encode(publication.event), publication.exchange, publication.key)
