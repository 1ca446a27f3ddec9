"""The messages of the last days, read for a replay. ``messages`` and ``followers`` are history's, and are only read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from chassis.mongo import Database, timed
from services.autoreply.replaying import Profile

PAGE = 2_000
INDEX = "account_at_id"
FIELDS = {
    "account": 1,
    "openid": 1,
    "kind": 1,
    "text": 1,
    "at": 1,
    "lane": 1,
    "fields.Location_X": 1,
    "fields.Location_Y": 1,
    "fields.Latitude": 1,
    "fields.Longitude": 1,
}
"""All that deciding looks at. The rest of a document would cost more to carry than to decide about."""


class PastMessages:
    """Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self._messages: Any = database["messages"]
        self._followers: Any = database["followers"]

    async def pages(self, account: str, since: datetime, until: datetime) -> AsyncIterator[list[dict[str, Any]]]:
        """What followers sent in this time, oldest first, page by page."""
        query = {"account": account, "at": {"$gte": since, "$lt": until}, "direction": "in"}
        cursor = self._messages.find(query, FIELDS, batch_size=PAGE).sort([("at", 1), ("_id", 1)])
        try:
            while True:
                with timed("find"):
                    page: list[dict[str, Any]] = await cursor.to_list(PAGE)
                if not page:
                    return
                yield page
        finally:
            await cursor.close()

    async def profiles(self, account: str, openids: Iterable[str]) -> dict[str, Profile]:
        """What is known of these followers."""
        names = [f"{account}|{openid}" for openid in dict.fromkeys(openids)]
        with timed("find"):
            found = await self._followers.find({"_id": {"$in": names}}, {"tags": 1, "subscribed_at": 1}).to_list(None)
        return {
            str(one["_id"]).partition("|")[2]: Profile(frozenset(_tags(one)), one.get("subscribed_at")) for one in found
        }


def _tags(document: dict[str, Any]) -> Iterable[str]:
    return [str(tag) for tag in document.get("tags") or ()]
