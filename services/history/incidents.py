"""Incidents: who got a wrong answer. Owner of ``incidents`` and ``incident_recipients``.

The answers are found by the index on (account, at) that is there anyway, one slice of time after another, each within a
bound; an index on the rule would cost every answer of a flood for the sake of a question that is asked once a month.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chassis.mongo import ASCENDING, DESCENDING, UpdateOne, timed
from contracts.content import Content
from contracts.errors import Unavailable
from services.history import roads
from services.history.documents import Document, of_follower
from services.history.followers import Followers
from services.history.reading import too_slow
from services.history.store import ACCOUNT_INDEX, ID_INDEX, Store

FIRST_SLICE = timedelta(hours=1)
SHORTEST_SLICE = timedelta(seconds=1)
LONGEST_SLICE = timedelta(days=30)
SLICE_MILLISECONDS = 2000
LISTED = 100
FOUND = ("sent", "unknown")
_FIELDS = {"openid": 1, "at": 1, "status": 1, "text": 1, "content": 1}
_ACTS = {"at": 1, "direction": 1, "kind": 1, "via": 1, "status": 1}


class Incidents:
    """Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, store: Store, followers: Followers, clock: Callable[[], datetime]) -> None:
        self._messages = store.messages
        self._followers = followers
        self.all: Any = store.database["incidents"]
        self.recipients: Any = store.database["incident_recipients"]
        self.clock = clock

    async def prepare(self) -> None:
        with timed("create_index"):
            await self.all.create_index([("active", ASCENDING)], partialFilterExpression={"active": True})
            await self.recipients.create_index([("incident", ASCENDING), ("state", ASCENDING), ("_id", ASCENDING)])
            await self.recipients.create_index([("openid", ASCENDING)])

    async def open(
        self, account: str, rule: str, rules_version: str, start: datetime, end: datetime, by: str, message: str = ""
    ) -> Document:
        """A new incident, whose recipients are about to be found."""
        incident: Document = {
            "_id": secrets.token_hex(6),
            "account": account,
            "rule": rule,
            "rules_version": rules_version,
            "from": start,
            "to": end,
            "by": by,
            "opened": self.clock(),
            "phase": "finding",
            "active": True,
        }
        if message:
            incident["message"] = message
        with timed("insert"):
            await self.all.insert_one(incident)
        return incident

    async def get(self, name: str) -> Document | None:
        with timed("find"):
            found: Document | None = await self.all.find_one({"_id": name})
        return found

    async def newest(self, account: str) -> list[Document]:
        with timed("find"):
            found: list[Document] = (
                await self.all.find({"account": account} if account else {})
                .sort([("opened", DESCENDING)])
                .limit(LISTED)
                .to_list(LISTED)
            )
        return found

    async def active(self) -> list[Document]:
        with timed("find"):
            found: list[Document] = await self.all.find({"active": True}).sort("opened").to_list(None)
        return found

    async def find(self, incident: Document) -> None:
        """Find everybody who got the answer. It may be run again from the start at any time, and comes to the same."""
        wanted: Document = {"account": incident["account"], "direction": "out", "because.rule": incident["rule"]}
        if incident["rules_version"]:
            wanted["because.rules_version"] = incident["rules_version"]
        at, length = incident["from"], FIRST_SLICE
        while at < incident["to"]:
            end = min(at + length, incident["to"])
            try:
                await self._take(incident, {**wanted, "at": {"$gte": at, "$lt": end}, "status": {"$in": list(FOUND)}})
            except Unavailable as error:
                if not too_slow(error) or length <= SHORTEST_SLICE:
                    raise
                length = max(length / 8, SHORTEST_SLICE)
                continue
            at, length = end, min(length * 2, LONGEST_SLICE)
        await self.note_roads(incident)
        await self.change(incident["_id"], ("finding",), {"phase": "open", "active": False, "found": self.clock()})

    async def _take(self, incident: Document, wanted: Document) -> None:
        with timed("find"):
            found = (
                await self._messages.find(wanted, _FIELDS, hint=ACCOUNT_INDEX)
                .max_time_ms(SLICE_MILLISECONDS)
                .to_list(None)
            )
        updates = []
        for one in found:
            got = {"id": one["_id"], "at": one["at"], "status": one["status"], "text": one["text"]}
            if not one["text"]:
                got["content"] = one.get("content")
            fixed = {"incident": incident["_id"], "account": incident["account"], "openid": one["openid"]}
            updates.append(
                UpdateOne(
                    {"_id": f"{incident['_id']}|{one['openid']}"},
                    {"$setOnInsert": {**fixed, "state": "pending"}, "$addToSet": {"got": got}},
                    upsert=True,
                )
            )
        for begin in range(0, len(updates), 500):
            with timed("update_many"):
                await self.recipients.bulk_write(updates[begin : begin + 500], ordered=False)

    async def note_roads(self, incident: Document) -> None:
        """Write down by which road each recipient can be reached as of now."""
        async for page in self.pages(incident["_id"]):
            updates = []
            for one in page:
                road = await self.road(one)
                values = {"road": road.kind, "left": road.left, "road_reason": road.reason, "road_at": self.clock()}
                updates.append(UpdateOne({"_id": one["_id"]}, {"$set": values}))
            with timed("update_many"):
                await self.recipients.bulk_write(updates, ordered=False)

    async def road(self, recipient: Document) -> roads.Road:
        """By which road a recipient can be reached right now."""
        account, openid, now = recipient["account"], recipient["openid"], self.clock()
        mine = {**of_follower(account, openid), "at": {"$gte": roads.since(now)}}
        with timed("find"):
            messages = await self._messages.find(mine, _ACTS, hint=ID_INDEX).to_list(None)
        return roads.road(await self._followers.get(account, openid), messages, now)

    async def pages(self, name: str, size: int = 200) -> Any:
        """All recipients, page by page."""
        after = ""
        while page := await self.listed(name, after, size):
            yield page
            after = page[-1]["_id"]

    async def listed(self, name: str, after: str, limit: int, state: str = "") -> list[Document]:
        """A page of recipients in the order of their ids."""
        wanted: Document = {"_id": {"$gt": after or f"{name}|", "$lt": f"{name}}}"}}
        if state:
            wanted["state"] = state
        with timed("find"):
            found: list[Document] = await self.recipients.find(wanted).sort("_id").limit(limit).to_list(limit)
        return found

    async def counts(self, name: str) -> Document:
        """Followers by state, certainty and road, and how many messages they got; counted, never added up."""
        mine = {"$match": {"incident": name}}
        surely = {"$in": ["sent", {"$ifNull": ["$got.status", []]}]}
        with timed("aggregate"):
            states = await self.recipients.aggregate(
                [mine, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
            ).to_list(None)
            by_road = await self.recipients.aggregate(
                [mine, {"$group": {"_id": "$road", "count": {"$sum": 1}}}]
            ).to_list(None)
            got = await self.recipients.aggregate(
                [
                    mine,
                    {
                        "$group": {
                            "_id": surely,
                            "count": {"$sum": 1},
                            "messages": {"$sum": {"$size": {"$setUnion": [{"$ifNull": ["$got.id", []]}]}}},
                        }
                    },
                ]
            ).to_list(None)
        certain = {bool(one["_id"]): one for one in got}
        nobody = {"count": 0, "messages": 0}
        return {
            "recipients": roads.summed(states),
            "roads": {"custom": 0, "mass": 0, "none": 0, **{one["_id"]: one["count"] for one in by_road if one["_id"]}},
            "received": certain.get(True, nobody)["count"],
            "received_unknown": certain.get(False, nobody)["count"],
            "messages": sum(one["messages"] for one in got),
        }

    async def change(self, name: str, phases: tuple[str, ...], values: Document) -> bool:
        """Change an incident that is in one of these phases; False when it is in another."""
        with timed("update"):
            result = await self.all.update_one({"_id": name, "phase": {"$in": list(phases)}}, {"$set": values})
        return bool(result.matched_count)

    async def correct(self, name: str, content: Content, by: str, *, unknown: bool) -> bool:
        """Start the correction; False unless the incident is open, which it is once in its life."""
        values = {"content": msgspec.to_builtins(content), "corrected_by": by, "include_unknown": unknown}
        return await self.change(
            name, ("open",), {**values, "phase": "correcting", "active": True, "started": self.clock()}
        )

    async def cancel(self, name: str) -> bool:
        """Send to nobody else. What is released already goes its way."""
        if not await self.change(name, ("open", "correcting", "paused"), {"phase": "cancelled", "active": True}):
            return False
        await self.skip_pending(name, "The correction was cancelled.")
        return True

    async def skip_pending(self, name: str, reason: str) -> None:
        with timed("update_many"):
            await self.recipients.update_many(
                {"incident": name, "state": "pending"}, {"$set": {"state": "skipped", "reason": reason}}
            )

    async def forget(self, account: str, openid: str, pseudonym: str) -> None:
        """Erase a follower from all incidents: they stay counted, without who they are and what they were told."""
        with timed("find"):
            mine = await self.recipients.find({"openid": openid, "account": account}).to_list(None)
        for one in mine:
            kept = {name: one[name] for name in ("incident", "account", "state", "road", "left") if name in one}
            kept |= {"_id": f"{one['incident']}|{pseudonym}", "openid": pseudonym, "erased": True}
            told = one.get("got", ())
            kept["got"] = [{"id": "", "at": got["at"], "status": got["status"], "text": ""} for got in told]
            if kept["state"] in ("pending", "released"):
                kept |= {"state": "skipped", "reason": "Their data was erased."}
            with timed("replace"):
                await self.recipients.replace_one({"_id": kept["_id"]}, kept, upsert=True)
            with timed("delete"):
                await self.recipients.delete_one({"_id": one["_id"]})
