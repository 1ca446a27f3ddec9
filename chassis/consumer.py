"""The consumer: takes batches off a queue, has each event handled, and sees that each meets its fate.

A handler gets events and returns, for each, what to publish, or the exception that decides its fate
(``contracts.errors``). What it returns is published and confirmed before the delivery is acked, so a kill at any
moment leads to a redelivery, never to a loss; ids are deterministic, so a redelivery leads to nothing new. An event
that fails leaves its batch and goes its own way; the rest is acked. Nothing is cancelled on shutdown: the broker
delivers again what was not acked.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from chassis import logs, metrics
from chassis.amqp import Bus, Delivery, Subscription
from chassis.brake import Brake
from chassis.fate import Fate
from chassis.publisher import Publication, Publisher
from contracts.envelope import Event, decode_lenient, encode
from contracts.errors import PublishFailed, Reject, Retry, Unavailable, Unroutable
from contracts.topology import Queue

log = logs.get(__name__)

Result = Sequence[Publication] | Exception
BatchHandler = Callable[[list[Event]], Awaitable[list[Result]]]
EventHandler = Callable[[Event], Awaitable[Sequence[Publication]]]

SUSPECT_DELIVERIES = 3
"""Deliveries of the same message after which its events go on alone: one of them may be what kills us."""

MAX_PAUSE = 5.0
"""Longest wait, in seconds, between tries while something every event needs is away."""


def each(handler: EventHandler, concurrency: int = 1) -> BatchHandler:
    """A handler of single events as a batch handler; up to ``concurrency`` events at a time."""

    async def one(event: Event) -> Result:
        try:
            return await handler(event)
        except Exception as error:  # its fate is decided by the consumer
            return error

    async def handle(events: list[Event]) -> list[Result]:
        limit = asyncio.Semaphore(concurrency)

        async def limited(event: Event) -> Result:
            async with limit:
                return await one(event)

        return await asyncio.gather(*(limited(event) for event in events))

    return handle


class Consumer:
    """One queue's consumer.

    ``prefetch`` deliveries are taken ahead; ``workers`` handle them side by side, each up to ``merge`` deliveries at
    a time as one batch, for which a worker waits ``linger`` seconds when fewer are there. ``after`` is a consumer whose
    queue goes first: this one starts nothing while that one has deliveries waiting, for at most 50 ms a time so that it
    cannot starve.
    """

    def __init__(
        self,
        bus: Bus,
        publisher: Publisher,
        queue: Queue,
        handler: BatchHandler,
        *,
        prefetch: int = 8,
        workers: int = 1,
        merge: int = 1,
        linger: float = 0.0,
        after: Consumer | None = None,
        brake: Brake | None = None,
    ) -> None:
        self.queue = queue
        self.brake = brake or Brake(queue.name)
        self._publisher = publisher
        self._handler = handler
        self._workers = workers
        self._merge = merge
        self._linger = linger
        self._after = after
        self._fate = Fate(bus, publisher, queue, getattr(handler, "__qualname__", "handler"))
        self._waiting: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._in_flight = metrics.consumer_in_flight.labels(queue.name)
        self._seconds = metrics.consumer_seconds.labels(queue.name)
        self._delay = metrics.consumer_delay.labels(queue.name)
        self._acked = metrics.consumed.labels(queue.name, "ack")
        bus.subscribe(Subscription(queue.name, prefetch, self._receive, lost=self._lost))

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"{self.queue.name} {n}") for n in range(self._workers)]

    async def drain(self) -> None:
        """Finish what is being handled; what only waits goes back to the broker when the connection closes."""
        self._stopping = True
        self._waiting.clear()
        self.brake.release()
        self._wake.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def failed(self) -> bool:
        """A worker is gone though nobody stopped it: the process should end and be started again."""
        return not self._stopping and any(task.done() for task in self._tasks)

    @property
    def idle(self) -> bool:
        """Nothing is waiting and nothing is being handled."""
        return not self._waiting and not self._busy

    async def give_way(self) -> None:
        """Wait until this consumer has nothing to do, 50 ms at the most."""
        if not self._idle.is_set():
            try:
                async with asyncio.timeout(0.05):
                    await self._idle.wait()
            except TimeoutError:
                pass

    async def _receive(self, delivery: Delivery) -> None:
        if self._stopping:
            return  # not acked: the broker gives it to the next process
        self._waiting.append(delivery)
        self._idle.clear()
        self._in_flight.inc()
        self._wake.set()

    def _lost(self) -> None:
        self._in_flight.dec(len(self._waiting))
        self._waiting.clear()

    async def _work(self) -> None:
        while not self._stopping:
            if not self._waiting:
                if not self._busy:
                    self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            await self.brake.wait()
            if self._after:
                await self._after.give_way()
            if self._linger and len(self._waiting) < self._merge and not self._stopping:
                await asyncio.sleep(self._linger)
            taken = [self._waiting.popleft() for _ in range(min(self._merge, len(self._waiting)))]
            if not taken:  # another worker was faster
                continue
            self._busy += 1
            try:
                await self._handle(taken)
            finally:
                self._busy -= 1
                self._in_flight.dec(len(taken))

    async def _handle(self, deliveries: list[Delivery]) -> None:
        started = time.perf_counter()
        events: list[Event] = []
        failures: list[tuple[Event | bytes, Exception]] = []
        now = datetime.now(UTC)
        for delivery in deliveries:
            if delivery.published:
                self._delay.observe(max(0.0, (now - delivery.published).total_seconds()))
            good, bad = decode_lenient(delivery.body)
            failures += [(body, Reject("undecodable", reason)) for body, reason in bad]
            if delivery.deliveries >= SUSPECT_DELIVERIES and len(good) > 1:
                failures += [(event, Retry("suspect", "its batch was delivered too often")) for event in good]
            else:
                events += good
        if await self._settle(events, failures):
            for delivery in deliveries:
                await delivery.ack()
        self._seconds.observe(time.perf_counter() - started)

    async def _settle(self, events: list[Event], failures: list[tuple[Event | bytes, Exception]]) -> bool:
        """Handle and publish until every event has met its fate; False when stopped before that."""
        pause = 0.1
        while True:
            again: list[Event] = []
            good = await self._process(events, failures, again)
            failures = await self._meet(failures)
            if good:  # last, so that a delivery which was good in part never counts as all that dies
                self.brake.good()
            if not again and not failures:
                return True
            if self._stopping:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)
            events = again

    async def _process(
        self, events: list[Event], failures: list[tuple[Event | bytes, Exception]], again: list[Event]
    ) -> int:
        """Handle events and publish what comes of them; adds to the failures and to what must be tried again.

        Returns how many were handled well.
        """
        if not events:
            return 0
        confirms: list[tuple[Event, Publication, asyncio.Future[None]]] = []
        good = 0
        put = self._publisher.put
        for event, result in zip(events, await self._results(events), strict=True):
            if isinstance(result, Unavailable):
                again.append(event)
            elif isinstance(result, Exception):
                failures.append((event, result))
            else:
                good += 1
                for publication in result:
                    encoded = encode(publication.event)
                    confirms.append((event, publication, put(encoded, publication.exchange, publication.key)))
        if again:
            log.warning("waiting for what every event needs", queue=self.queue.name, events=len(again))
        for event, publication, confirmed in confirms:
            if not await self._confirmed(publication, confirmed) and event not in again:
                again.append(event)
        if good:
            self._acked.inc(good)
        return good

    async def _results(self, events: list[Event]) -> list[Result]:
        try:
            return await self._handler(events)
        except Exception as error:  # a batch handler that fails as a whole fails each of its events
            return [error] * len(events)

    async def _confirmed(self, publication: Publication, confirmed: asyncio.Future[None]) -> bool:
        try:
            try:
                await confirmed
            except Unroutable:
                if publication.otherwise:
                    await self._publisher.publish(publication.otherwise())
        except PublishFailed:
            return False
        return True

    async def _meet(self, failures: list[tuple[Event | bytes, Exception]]) -> list[tuple[Event | bytes, Exception]]:
        """Send failed events on their way; returns those for which the bus had no ear."""
        left: list[tuple[Event | bytes, Exception]] = []
        for item, error in failures:
            try:
                if isinstance(item, bytes):
                    await self._fate.die(item, error)
                    self.brake.dead()
                elif await self._fate.meet(item, error):
                    log.error("dead letter", queue=self.queue.name, exc_info=error)
                    self.brake.dead()
            except PublishFailed:
                left.append((item, error))
        return left
