"""Who follows. Written only when that changes: what a message says about its sender is read from the messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.mongo import ASCENDING, BulkWriteError, Database, ReturnDocument, UpdateOne, timed
from contracts.errors import Unavailable
from services.history.documents import Document
from services.history.following import ERASE_AFTER, Change
from services.history.store import DUPLICATE_KEY
from services.history.tagging import TagChange

CLAIM = timedelta(minutes=10)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_ERASE_MILLISECONDS = int(ERASE_AFTER.total_seconds() * 1000)


def follower_id(account: str, openid: str) -> str:
    return f"{account}|{openid}"


class Followers:
    """The collection ``followers``. Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, database: Database) -> None:
        self._collection: Any = database["followers"]

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._collection.create_index(
                [("erase_after", ASCENDING)], partialFilterExpression={"erase_after": {"$type": "date"}}
            )

    async def apply(self, changes: list[Change | TagChange]) -> None:
        """Apply changes. In any order and however often, the result is the same."""
        updates = [
            UpdateOne(
                {"_id": follower_id(c.account, c.openid)},
                _tagged(c) if isinstance(c, TagChange) else _update(c),
                upsert=True,
            )
            for c in changes
        ]
        try:
            with timed("update_many"):
                await self._collection.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            if any(item["code"] != DUPLICATE_KEY for item in error.details["writeErrors"]):
                raise
            # Two processes made the same follower at the same moment: the second time it is there.
            raise Unavailable("mongodb", "followers were changed from two sides at once") from error

    async def get(self, account: str, openid: str) -> Document | None:
        with timed("find"):
            found: Document | None = await self._collection.find_one({"_id": follower_id(account, openid)})
        return found

    async def claim_due(self, now: datetime) -> Document | None:
        """A follower whose data is to go by now, for this process alone for ten minutes; None when there is none."""
        due = {"erase_after": {"$lte": now}, "$or": [{"claimed_until": None}, {"claimed_until": {"$lte": now}}]}
        with timed("find_and_modify"):
            found: Document | None = await self._collection.find_one_and_update(
                due, {"$set": {"claimed_until": now + CLAIM}}, return_document=ReturnDocument.AFTER
            )
        return found

    async def replace_by(self, follower: Document, erased: Document, now: datetime) -> None:
        """Put what may stay in a follower's place, unless they follow again by now."""
        with timed("replace"):
            await self._collection.replace_one({"_id": erased["_id"]}, erased, upsert=True)
        with timed("delete"):
            await self._collection.delete_one({"_id": follower["_id"], "erase_after": {"$lte": now}})
        with timed("update"):
            await self._collection.update_one({"_id": follower["_id"]}, {"$unset": {"claimed_until": ""}})


def _update(change: Change) -> list[Document]:
    """As a pipeline, so that the later of two times wins, and the date of the erasure follows from them."""
    values: Document = {
        "account": {"$literal": change.account},
        "openid": {"$literal": change.openid},
        change.field: {"$max": [f"${change.field}", change.at]},
    }
    if change.field == "subscribed_at":
        latest = {"$gte": [change.at, {"$ifNull": ["$subscribed_at", _NEVER]}]}
        values["scene"] = {"$cond": [latest, {"$literal": change.scene}, "$scene"]}
    left = {"$gt": ["$unsubscribed_at", {"$ifNull": ["$subscribed_at", _NEVER]}]}
    erase_after = {
        "$min": [
            {"$cond": [left, {"$add": ["$unsubscribed_at", _ERASE_MILLISECONDS]}, None]},
            {"$cond": [{"$gt": ["$revoked_at", _NEVER]}, {"$add": ["$revoked_at", _ERASE_MILLISECONDS]}, None]},
        ]
    }
    return [{"$set": values}, {"$set": {"erase_after": erase_after}}]


def _tagged(change: TagChange) -> list[Document]:
    """As a pipeline, so that the later of two facts about a tag wins; of two at the same moment, the one that gives it.

    ``tag_times`` remembers of each tag when it was given or taken last, and ``tags`` follows from it.
    """
    stages: list[Document] = [
        {"$set": {"account": {"$literal": change.account}, "openid": {"$literal": change.openid}}}
    ]
    for tag, on in change.tags:
        name = {"$literal": tag}
        times: Any = {"$ifNull": ["$tag_times", []]}
        known = {"$first": {"$filter": {"input": times, "cond": {"$eq": ["$$this.tag", name]}}}}
        others = {"$filter": {"input": times, "cond": {"$ne": ["$$this.tag", name]}}}
        later: list[Document] = [{"$gt": ["$$known.at", change.at]}]
        if not on:
            later.append({"$and": [{"$eq": ["$$known.at", change.at]}, "$$known.on"]})
        told = {"tag": name, "at": change.at, "on": {"$literal": on}}
        stands = {"$cond": [{"$or": later}, times, {"$concatArrays": [others, [told]]}]}
        stages.append({"$set": {"tag_times": {"$let": {"vars": {"known": known}, "in": stands}}}})
    given = {"$filter": {"input": "$tag_times", "cond": "$$this.on"}}
    stages.append({"$set": {"tags": {"$map": {"input": given, "in": "$$this.tag"}}}})
    return stages
