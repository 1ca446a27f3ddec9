"""Who does a piece of background work right now, of all the processes that could."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from chassis.mongo import DuplicateKeyError, timed

LASTS = timedelta(seconds=6)


class Lease:
    """A claim to a piece of work that ends by itself when its holder is gone.

    It keeps two processes from doing the same work twice; it does not have to be exact, and what it guards must stay
    right when two do it all the same (a process may sleep through the end of its lease).
    """

    def __init__(self, collection: Any, name: str, clock: Callable[[], datetime]) -> None:
        self._collection = collection
        self._name = name
        self._clock = clock
        self._holder = secrets.token_hex(8)

    async def hold(self) -> bool:
        """Take the lease or prolong it; False while another holds it."""
        now = self._clock()
        free = {"_id": self._name, "$or": [{"holder": self._holder}, {"until": {"$lte": now}}]}
        try:
            with timed("update"):
                await self._collection.update_one(
                    free, {"$set": {"holder": self._holder, "until": now + LASTS}}, upsert=True
                )
        except DuplicateKeyError:
            return False
        return True
