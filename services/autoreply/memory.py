"""What deciding needs to know about followers, read and written for a whole batch at a time.

Owner of the collection ``turns``. ``followers`` and ``messages`` are history's, and are only read: asking for them over
HTTP would use up the time in which a passive answer is of use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.mongo import BulkWriteError, Database, UpdateOne, timed
from chassis.publisher import Publication
from contracts import wechat
from contracts.envelope import Event
from contracts.errors import Unavailable
from services.autoreply.turn import Document, Follower, Turn, from_document, to_document

READ_SECONDS = 1.0
"""Longest wait for MongoDB before the answer is decided without it: WeChat waits for 5 s in all."""

DUPLICATE_KEY = 11000
_UNION = 100
"""Followers in one aggregation: the server bounds its stages."""


@dataclass(frozen=True)
class Profile:
    """What history knows of a follower."""

    tags: frozenset[str] = frozenset()
    subscribed_at: datetime | None = None


NOBODY = Profile()


class Memory:
    """Every call raises ``Unavailable`` when MongoDB is away or slow."""

    def __init__(self, database: Database) -> None:
        self._turns: Any = database["turns"]
        self._followers: Any = database["followers"]
        self._messages: Any = database["messages"]

    async def prepare(self) -> None:
        with timed("create_index"):
            await self._turns.create_index("expires", expireAfterSeconds=0)

    async def turns(self, followers: Iterable[Follower]) -> dict[Follower, Turn]:
        """The turns of these followers; an empty one for whom nothing is remembered."""
        turns = {follower: Turn(follower) for follower in followers}
        async with _in_time("find"):
            found = await self._turns.find({"_id": {"$in": [_id(follower) for follower in turns]}}).to_list(None)
        for document in found:
            turn = from_document(document)
            turns[turn.follower] = turn
        return turns

    async def write(self, turns: list[Turn]) -> set[Follower]:
        """Store changed turns, each if it is still as it was read; whose was changed by somebody else meanwhile."""
        updates = []
        for turn in turns:
            document = to_document(turn)
            # A turn that is new is inserted, which fails when another made it first.
            seen = {"_id": document.pop("_id"), "revision": turn.revision}
            updates.append(UpdateOne(seen, {"$set": document}, upsert=not turn.revision))
        try:
            async with _in_time("update_many"):
                result = await self._turns.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            if any(item["code"] != DUPLICATE_KEY for item in error.details["writeErrors"]):
                raise
        else:
            if result.matched_count + result.upserted_count == len(turns):
                return set()
        # Which ones were lost the server does not tell; what is stored now does.
        stored = await self.turns(turn.follower for turn in turns)
        return {turn.follower for turn in turns if not _stands(turn, stored[turn.follower])}

    async def forget(self, event: Event) -> Sequence[Publication]:
        """Handles the command ``forget``: a follower's data must go."""
        async with _in_time("delete"):
            await self._turns.delete_one({"_id": _id((event.account, event.subject))})
        return []

    async def profiles(self, followers: Iterable[Follower]) -> dict[Follower, Profile]:
        """What history knows of these followers; those whom it does not know are left out."""
        wanted = [_id(follower) for follower in followers]
        async with _in_time("find"):
            found = await self._followers.find(
                {"_id": {"$in": wanted}}, {"account": 1, "openid": 1, "tags": 1, "subscribed_at": 1}
            ).to_list(None)
        return {
            (one["account"], one["openid"]): Profile(frozenset(one.get("tags", ())), one.get("subscribed_at"))
            for one in found
        }

    async def wrote_before(self, events: Mapping[Follower, Event]) -> set[Follower]:
        """Which of these followers had written to the account before the given message of theirs."""
        return await self._some(
            {
                follower: {
                    "_id": {**_of(follower), "$ne": event.id},
                    "direction": "in",
                    "kind": {"$not": {"$regex": "^event\\."}},
                    "at": {"$lte": event.time},
                }
                for follower, event in events.items()
            }
        )

    async def answered_since(self, turns: Iterable[Turn]) -> set[Follower]:
        """Who got an answer from a rule or a person after the turn that nothing answered."""
        return await self._some(
            {
                turn.follower: {
                    "_id": _of(turn.follower),
                    "direction": "out",
                    "at": {"$gt": turn.unanswered_at},
                    "$or": [{"cause": {"$nin": list(turn.unanswered)}}, {"because.agent": {"$exists": True}}],
                }
                for turn in turns
            }
        )

    async def _some(self, wanted: Mapping[Follower, Document]) -> set[Follower]:
        """For which followers there is a message like this: one round trip for many, and one message read for each."""
        found: set[Follower] = set()
        conditions = list(wanted.values())
        for start in range(0, len(conditions), _UNION):
            one, *others = [
                [{"$match": condition}, {"$limit": 1}, {"$project": {"account": 1, "openid": 1}}]
                for condition in conditions[start : start + _UNION]
            ]
            unions = [{"$unionWith": {"coll": "messages", "pipeline": other}} for other in others]
            async with _in_time("aggregate"):
                documents = await self._messages.aggregate([*one, *unions]).to_list(None)
            found |= {(document["account"], document["openid"]) for document in documents}
        return found


def is_message(event: Event) -> bool:
    return event.type.startswith(wechat.MESSAGE)


def _id(follower: Follower) -> str:
    return f"{follower[0]}|{follower[1]}"


def _of(follower: Follower) -> Document:
    """The range of ``_id`` in which history keeps a follower's messages; ``}`` is what comes after ``|``."""
    return {"$gte": f"{_id(follower)}|", "$lt": f"{_id(follower)}}}"}


def _stands(written: Turn, stored: Turn) -> bool:
    """Whether what was written is there, by the last event that it remembers."""
    return bool(written.decided) and any(one.cause == written.decided[-1].cause for one in stored.decided)


@asynccontextmanager
async def _in_time(command: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(READ_SECONDS):
            with timed(command):
                yield
    except TimeoutError as error:
        raise Unavailable("mongodb", f"no answer within {READ_SECONDS:.0f} s") from error
