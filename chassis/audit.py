"""Who changed what: written beside the change, by the process that made it, and never changed again.

It goes straight into MongoDB and not over the bus: the store that took the change is there to take its record too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from chassis.mongo import ASCENDING, Database, timed
from contracts.roles import Principal


class Audit:
    """The collection ``audit``. Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self.entries: Any = database["audit"]

    async def prepare(self) -> None:
        with timed("create_index"):
            await self.entries.create_index([("at", ASCENDING), ("_id", ASCENDING)])

    async def record(self, who: Principal, what: str, about: str, account: str, detail: Mapping[str, Any]) -> None:
        """``what`` is a verb in the past with its subject (``rules.published``), ``about`` the name of the thing."""
        with timed("insert"):
            await self.entries.insert_one(
                {
                    "_id": uuid4().hex,
                    "at": datetime.now(UTC),
                    "who": who.name,
                    "kind": who.kind,
                    "what": what,
                    "about": about,
                    "account": account,
                    "detail": dict(detail),
                }
            )
