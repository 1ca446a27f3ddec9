"""How many conversations there are, for the metrics."""

from __future__ import annotations

import asyncio

from chassis import metrics
from chassis.conversing import ASSIGNED, WAITING
from chassis.mongo import PyMongoError
from contracts.errors import Unavailable
from services.agent.conversations import Conversations

SECONDS = 5.0


async def count_forever(conversations: Conversations) -> None:
    """Count the open conversations now and then; with MongoDB away the last count stays."""
    while True:
        try:
            for state in (WAITING, ASSIGNED):
                metrics.conversations.labels(state).set(await conversations.count(state))
        except (Unavailable, PyMongoError):
            pass
        await asyncio.sleep(SECONDS)
