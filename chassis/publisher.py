"""Group commit: while a confirm is outstanding, what comes for the same place gathers and leaves as one message.

A quiet day sends singles with no added wait; a flood sends full batches. One future serves a whole batch: everybody
who put an event into it waits for the same confirm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from chassis import metrics
from contracts import topology
from contracts.envelope import MAX_BYTES, MAX_EVENTS, Event, encode, join
from contracts.errors import PublishFailed, Unroutable

MAX_OUTSTANDING = 8
"""Batches under way to one place."""
WORTH_SENDING = 16
"""Events that may leave while another batch is under way: fewer would undo the gathering, more would leave the broker
idle while events wait."""


SHORTEST_TRY = 0.1
"""Seconds that a batch is given at the least, however long it has waited."""


class PublishPort(Protocol):
    """What the publisher needs of the bus."""

    async def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        headers: dict[str, Any] | None = None,
        within: float = 1.0,
    ) -> None: ...


@dataclass(frozen=True)
class Publication:
    """An event and where it goes. ``otherwise`` makes what takes its place when no queue takes it there."""

    event: Event
    exchange: str
    key: str
    otherwise: Callable[[], Publication] | None = None


def fact(event: Event) -> Publication:
    """A fact, for all who care about its lane and type."""
    return Publication(event, topology.EVENTS, topology.event_key(event.lane, event.type))


def command(name: str, event: Event) -> Publication:
    """An order, for the queue that takes it."""
    return Publication(event, topology.COMMANDS, name)


def direct(queue: str, event: Event, otherwise: Callable[[], Publication] | None = None) -> Publication:
    """An event for one queue by its name."""
    return Publication(event, "", queue, otherwise=otherwise)


@dataclass(slots=True)
class _Batch:
    confirmed: asyncio.Future[None]
    began: float
    events: list[bytes] = field(default_factory=list)
    size: int = 0


class _Place:
    """The events on their way to one (exchange, routing key)."""

    __slots__ = ("batches", "outstanding")

    def __init__(self) -> None:
        self.batches: list[_Batch] = []
        self.outstanding = 0

    def ripe(self, own: int = 0) -> bool:
        """Whether a batch should leave now; ``own`` of those under way is the asker's own, and done."""
        if not self.batches:
            return False
        others = self.outstanding - own
        return not others or (
            others < MAX_OUTSTANDING and (len(self.batches) > 1 or len(self.batches[0].events) >= WORTH_SENDING)
        )


class Publisher:
    """Publishes events in batches over a bus. ``timeout`` is in seconds, per batch."""

    def __init__(self, bus: PublishPort, timeout: float = 1.0) -> None:
        self._bus = bus
        self._timeout = timeout
        self._places: dict[tuple[str, str], _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.healthy = True
        """False from a failed publish until the next confirmed one: who can, should not wait for a time-out."""

    def put(self, encoded: bytes, exchange: str, key: str) -> asyncio.Future[None]:
        """Add an encoded event; the future ends with the confirm of its batch, or with ``PublishFailed``.

        The future is shared with the rest of the batch. Whoever may be cancelled shields it (``publish`` does): to
        cancel it is to cancel it for all of them.
        """
        address = (exchange, key)
        place = self._places.get(address)
        if place is None:
            place = self._places[address] = _Place()
        batches = place.batches
        if not batches or len(batches[-1].events) >= MAX_EVENTS or batches[-1].size + len(encoded) + 2 > MAX_BYTES:
            confirmed = asyncio.get_running_loop().create_future()
            confirmed.add_done_callback(_retrieve)
            batches.append(_Batch(confirmed, time.perf_counter()))
        batch = batches[-1]
        batch.events.append(encoded)
        batch.size += len(encoded) + 1
        if place.ripe():
            self._send(place, address)
        return batch.confirmed

    async def publish(self, publication: Publication) -> None:
        """Publish one event, or what stands in for it when no queue takes it. Raises ``PublishFailed``."""
        await asyncio.shield(self.put(encode(publication.event), publication.exchange, publication.key))

    async def drain(self) -> None:
        """Wait until everything put so far is confirmed or failed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _send(self, place: _Place, address: tuple[str, str]) -> None:
        place.outstanding += 1
        task = asyncio.create_task(self._commit(place, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit(self, place: _Place, address: tuple[str, str]) -> None:
        exchange, key = address
        # One turn of the loop: callbacks read in the same turn join the first batch.
        await asyncio.sleep(0)
        try:
            while place.ripe(own=1):
                batch = place.batches.pop(0)
                await self._deliver(batch, exchange, key)
        finally:
            place.outstanding -= 1
            if not place.outstanding and not place.batches:
                self._places.pop(address, None)

    async def _deliver(self, batch: _Batch, exchange: str, key: str) -> None:
        started = time.perf_counter()
        within = self._timeout
        if not self.healthy:
            # It gathered while the one before it timed out, and has waited as long: it must not wait twice.
            within = max(self._timeout - (started - batch.began), SHORTEST_TRY)
        failure: PublishFailed | None = None
        try:
            await self._bus.publish(exchange, key, join(batch.events), within=within)
        except PublishFailed as error:
            failure = error
        except (Exception, asyncio.CancelledError) as error:
            # A driver may end a publish with anything, a cancellation of its own included; if this task ended with it,
            # the batches behind this one would wait for ever.
            failure = PublishFailed(repr(error))
            if _cancelled():
                self.healthy = False
                if not batch.confirmed.done():
                    batch.confirmed.set_exception(failure)
                raise
        # An unroutable message came back over a bus that works.
        self.healthy = failure is None or isinstance(failure, Unroutable)
        if failure is None:
            metrics.publish_seconds.observe(time.perf_counter() - started)
            metrics.publish_batch_events.observe(len(batch.events))
        if batch.confirmed.done():  # somebody cancelled it against all advice; the others still get their batches
            return
        if failure:
            batch.confirmed.set_exception(failure)
        else:
            batch.confirmed.set_result(None)


def _cancelled() -> bool:
    """Whether the running task itself was told to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _retrieve(future: asyncio.Future[None]) -> None:
    """Read the exception, so that a batch nobody waits for any more does not complain."""
    if not future.cancelled():
        future.exception()
