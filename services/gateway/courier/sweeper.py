"""The sweeper: calls whose courier died before it wrote down the answer become unknown, and everybody is told.

Any number of couriers sweep; each row is taken by one of them at a time. A sweeper that dies between the ledger and
the bus leaves a row whose lease ends, and the next one tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chassis import logs, metrics
from chassis.publisher import Publisher
from contracts.errors import PublishFailed, Unavailable
from services.gateway.courier.outcomes import outcome_of_abandoned
from services.gateway.ledger import Ledger

log = logs.get(__name__)

SWEEP_SECONDS = 2.0


class Sweeper:
    def __init__(self, ledger: Ledger, publisher: Publisher, ready: Callable[[], bool]) -> None:
        """``ready`` tells whether the bus takes facts: without it nothing is swept."""
        self._ready = ready
        self._ledger = ledger
        self._publisher = publisher

    async def sweep(self) -> int:
        """Settle what has expired by now; how many rows. Raises ``Unavailable`` and ``PublishFailed``."""
        swept = 0
        while (row := await self._ledger.expire()) is not None:
            await self._publisher.publish(outcome_of_abandoned(row))
            await self._ledger.told(row)
            metrics.sends.labels(row["class"], "unknown").inc()
            log.warning("a send is of unknown outcome; it is not repeated", send=row["_id"], account=row["account"])
            swept += 1
        return swept

    async def keep(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                if self._ready():
                    await self.sweep()
            except (Unavailable, PublishFailed) as error:
                log.warning("not swept", reason=str(error))
            await asyncio.sleep(SWEEP_SECONDS)
