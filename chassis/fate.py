"""Where a failed event goes: a rung of its queue's retry ladder, or the dead letters with the reason."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

from chassis import logs, metrics
from chassis.publisher import Publication, Publisher, PublishPort, direct
from contracts import topology
from contracts.envelope import Event, encode, join
from contracts.errors import HandlerError, Later, Reject
from contracts.topology import Queue

MAX_TRACEBACK = 4000


class Fate:
    """Retries and dead letters of one queue. Both are confirmed before they return; both raise ``PublishFailed``."""

    def __init__(self, bus: PublishPort, publisher: Publisher, queue: Queue, handler: str) -> None:
        self._bus = bus
        self._publisher = publisher
        self._queue = queue
        self._handler = handler

    async def meet(self, event: Event, error: Exception) -> bool:
        """Send a failed event on its way; True when it is dead."""
        if isinstance(error, Later):
            await self._publisher.publish(self._later(event, error.delay))
            metrics.consumed.labels(self._queue.name, "later").inc()
            return False
        attempts = event.attempt + 1
        if isinstance(error, Reject) or attempts >= topology.MAX_ATTEMPTS:
            await self.die(encode(event), error, attempts=attempts, first_failed=event.firstfailed)
            return True
        rung = topology.RUNGS[min(event.attempt, len(topology.RUNGS) - 1)][0]
        again = msgspec.structs.replace(event, attempt=attempts, firstfailed=event.firstfailed or _now())
        await self._publisher.publish(direct(self._queue.retry(rung), again))
        metrics.consumed.labels(self._queue.name, "retry").inc()
        return False

    async def die(self, body: bytes, error: Exception, *, attempts: int = 1, first_failed: str = "") -> None:
        """Park what can not be handled, with everything someone needs who asks why."""
        reason = error.reason if isinstance(error, HandlerError) else type(error).__name__
        headers: dict[str, Any] = {
            "weir-reason": reason,
            "weir-message": _header(str(error))[:500],
            "weir-handler": self._handler,
            "weir-queue": self._queue.name,
            "weir-attempts": attempts,
            "weir-first-seen": first_failed or _now(),
            "weir-traceback": _header("".join(traceback.format_exception(error)))[-MAX_TRACEBACK:],
        }
        await self._bus.publish(topology.DEAD, self._queue.dead, join([body]), headers=headers, within=5.0)
        metrics.consumed.labels(self._queue.name, "dead").inc()
        metrics.dead_letters.labels(self._queue.name, reason if isinstance(error, HandlerError) else "exception").inc()

    def _later(self, event: Event, delay: float) -> Publication:
        rung = next((name for name, milliseconds in topology.RUNGS if milliseconds / 1000 >= delay), "10m")
        return direct(self._queue.retry(rung), event)


def _header(text: str) -> str:
    """Text without secrets that AMQP can carry: half a surrogate pair would end the consumer instead of the event."""
    return logs.scrub(text).encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
