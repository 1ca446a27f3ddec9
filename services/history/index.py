"""The search index: written behind the flood by one process at a time, block by block, and safe to kill anywhere.

Messages of an account are taken in the order of their time, from a watermark on, thousands at once; what is newer is
the tail, which a search reads itself. Nothing is added to the writing of a message on time. What is stored late, with
a time before the watermark (a redelivery, the journal of a gateway that was cut off), is told by ``late``, and goes
into blocks of its own. That no message falls between the two:

- ``late`` is asked after a message is stored and before its delivery is acked. Killed in between, it comes again;
- it notes every message that is more than ``LATE`` old by then, and nothing newer than ``SETTLED`` goes into a block:
  a message that was not noted was there before its time came. The processes' clocks may differ by the gap of the two.

``search_state`` holds for each account which blocks there are: one update of that document makes a block part of the
index and moves the watermark. A block's number is drawn before its postings are written and stands among the
``garbage`` until then, so that what a killed process began is swept away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

from chassis import logs
from chassis.mongo import ASCENDING, Database, ReturnDocument, timed
from services.history import grams
from services.history.blocks import START, Block, State, part, parts_of, state_of
from services.history.documents import Document
from services.history.lease import Lease
from services.history.query import Position
from services.history.store import ACCOUNT_INDEX, Store

log = logs.get(__name__)

LATE = timedelta(seconds=10)
SETTLED = timedelta(seconds=30)
LATE_BLOCK = 2048
"""Late messages of an account that make a block; fewer are looked through one by one."""
KEEP_GARBAGE = timedelta(minutes=10)
"""How long a search or a slow writer may go on using what is no longer part of the index."""
ERASING = timedelta(seconds=60)
"""From the word that messages are to be erased until they are gone at the latest."""
IDLE_SECONDS = 1.0
AGAIN_SECONDS = 10.0
WRITE = 256
_FIELDS = {"text": 1, "at": 1}
_LEASE = "#indexer"


class Index:
    """The collections ``search_state``, ``search_index`` and ``search_late``."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], *, block: int = grams.BLOCK, late_block: int = LATE_BLOCK
    ) -> None:
        database: Database = store.database
        self._messages = store.messages
        self._states: Any = database["search_state"]
        self.parts: Any = database["search_index"]
        self._late: Any = database["search_late"]
        self._clock = clock
        self._block = block
        self._late_block = late_block
        self._lease = Lease(database["history_leases"], _LEASE, clock)

    async def prepare(self) -> None:
        # ``search_index`` is not clustered by ``_id``: of a clustered collection the server reads all between the first
        # and the last of the ids asked for.
        with timed("create_index"):
            await self._late.create_index([("account", ASCENDING), ("_id", ASCENDING)])

    # -- what the recorder and the sweep tell --------------------------------------------------------------------

    async def late(self, documents: list[Document], *, changed: bool = False) -> None:
        """Messages that were just stored: note those that may come too late for their block. Raises ``Unavailable``.

        ``changed`` ones had been stored before, and may have another time or text than the index knows.
        """
        limit = self._clock() - LATE
        noted: dict[str, list[str]] = {}
        for document in documents:
            if changed or document["at"] <= limit:
                noted.setdefault(document["account"], []).append(document["_id"])
        if noted:
            with timed("insert_many"):
                await self._late.insert_many([{"account": account, "ids": names} for account, names in noted.items()])

    async def forget(self, account: str, documents: list[Document]) -> None:
        """Messages that are about to be erased: the blocks and notes that name them are to be written anew.

        They are no longer found from the moment they are gone; this removes what the index still holds of them.
        """
        times = [document["at"] for document in documents]
        state = await self.state(account)
        touched = [b.number for b in state.blocks if any(b.first <= at <= b.last for at in times)]
        now = self._clock()
        with timed("update"):
            # A block that is being written right now becomes dirty by this, whether it was there to be touched or not.
            await self._states.update_one({"_id": account}, {"$set": {"forgot": now}}, upsert=True)
        for number in touched:
            with timed("update"):
                await self._states.update_one(
                    {"_id": account, "blocks.number": number}, {"$set": {"blocks.$.dirty": now}}
                )
        with timed("update"):
            await self._late.update_many(
                {"account": account}, {"$pull": {"ids": {"$in": [document["_id"] for document in documents]}}}
            )

    # -- what a search reads -------------------------------------------------------------------------------------

    async def noted(self, account: str) -> list[str]:
        """The ids noted as late and not in a block yet. To be read before the state: a note goes when its block is."""
        with timed("find"):
            found = await self._late.find({"account": account}, {"ids": 1}).to_list(None)
        return [name for note in found for name in note["ids"]]

    async def state(self, account: str) -> State:
        with timed("find"):
            found: Document | None = await self._states.find_one({"_id": account})
        return state_of(account, found or {})

    # -- the background task -------------------------------------------------------------------------------------

    async def forever(self) -> None:
        """Keep the index up with the messages; after a failure go on in ten seconds."""
        while True:
            pause = IDLE_SECONDS
            try:
                began = time.monotonic()
                if await self._lease.hold() and await self.step():
                    # As long a rest as the work took: the recorder in this process comes first.
                    pause = time.monotonic() - began
            except Exception as error:  # whatever it was, the watermark stands where it stood
                log.warning("the search index waits", reason=repr(error))
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def step(self) -> bool:
        """At most one block for each account; whether there was any to write."""
        with timed("distinct"):
            accounts = await self._messages.distinct("account")
        wrote = False
        for account in accounts:
            state = await self.state(account)
            if state.watermark == START:
                with timed("update"):
                    await self._states.update_one({"_id": account}, {"$setOnInsert": {"next": 0}}, upsert=True)
            # Late ones first: what of them the watermark has yet to reach then needs no second place.
            wrote |= await self._seal_late(state) or await self._seal(state) or await self._renew(state)
            await self._sweep(account)
        return wrote

    async def _seal(self, state: State) -> bool:
        """The next messages by time, if they make a block."""
        at, name = state.watermark
        after = {"$or": [{"at": {"$gt": at}}, {"_id": {"$gt": name}}]}
        wanted = {"account": state.account, "at": {"$gte": at, "$lt": self._clock() - SETTLED}, **after}
        cursor = self._messages.find(wanted, _FIELDS, hint=ACCOUNT_INDEX, batch_size=self._block)
        with timed("find"):
            found = await cursor.sort([("at", 1), ("_id", 1)]).limit(self._block).to_list(self._block)
        if len(found) < self._block:
            return False
        watermark = Position(found[-1]["at"], found[-1]["_id"])
        return await self._write(state, found, {"$set": {"watermark": list(watermark)}})

    async def _seal_late(self, state: State) -> bool:
        """The late messages, when they are enough for a block. Those that the watermark has yet to reach need none."""
        with timed("find"):
            notes = await self._late.find({"account": state.account}).sort("_id").limit(WRITE).to_list(WRITE)
        names: dict[str, None] = {}
        taken: list[Any] = []
        for note in notes:
            if taken and len(names) + len(note["ids"]) > grams.BLOCK:
                break
            taken.append(note["_id"])
            names |= dict.fromkeys(note["ids"])
        if len(names) < self._late_block and len(notes) < WRITE:
            return False
        for begin in range(0, len(names), grams.BLOCK):
            found = await self._named(list(names)[begin : begin + grams.BLOCK])
            found = [one for one in found if Position(one["at"], one["_id"]) <= state.watermark]
            if found and not await self._write(state, found, {}):
                return False
        # A writer of the next block that began before these were stored must not end it: it would be without them.
        with timed("update"):
            same = {"_id": state.account, "watermark": list(state.watermark) if state.watermark != START else None}
            counted = await self._states.update_one(same, {"$inc": {"drops": 1}})
        if not counted.matched_count:
            return False
        with timed("delete"):
            await self._late.delete_many({"_id": {"$in": taken}})
        return True

    async def _renew(self, state: State) -> bool:
        """A block with messages in it that were erased: the same without them."""
        for block in state.blocks:
            if block.dirty and block.dirty <= self._clock() - ERASING:
                names = [name async for name in self._names(block)]
                found = [one for one in await self._named(names) if block.first <= one["at"] <= block.last]
                return await self._write(state, found, {}, instead=block)
        return False

    async def _names(self, block: Block) -> AsyncIterator[str]:
        stretch = {
            "_id": {"$gte": part(block.account, block.number, "i"), "$lt": part(block.account, block.number, "j")}
        }
        with timed("find"):
            found = await self.parts.find(stretch).to_list(None)
        for one in found:
            for name in one["ids"]:
                yield name

    async def _named(self, names: list[str]) -> list[Document]:
        with timed("find"):
            found: list[Document] = await self._messages.find({"_id": {"$in": names}}, _FIELDS).to_list(None)
        return sorted(found, key=lambda one: (one["at"], one["_id"]))

    async def _write(self, state: State, found: list[Document], change: Document, instead: Block | None = None) -> bool:
        """Write a block and make it part of the index; False when another process was faster."""
        account = state.account
        with_text = [one for one in found if one["text"]]
        number = await self._draw(account)
        parts = await asyncio.to_thread(parts_of, account, number, with_text)
        for begin in range(0, len(parts), WRITE):
            with timed("insert_many"):
                await self.parts.insert_many(parts[begin : begin + WRITE], ordered=False)
            await self._lease.hold()
        block: Document = {"number": number, "first": found[0]["at"], "last": found[-1]["at"]} if found else {}
        if state.forgot and state.forgot > self._clock() - 2 * ERASING:
            block["dirty"] = self._clock()
        blocks = [block] if with_text else []
        unchanged: Document = {
            "_id": account,
            "forgot": state.forgot,
            "garbage": {"$elemMatch": {"number": number, "dead": {"$ne": True}}},
        }
        garbage: Document = {"$filter": {"input": "$garbage", "cond": {"$ne": ["$$this.number", number]}}}
        kept: Any = {"$ifNull": ["$blocks", []]}
        if instead is None:
            unchanged["watermark"] = list(state.watermark) if state.watermark != START else None
            if "$set" in change:
                unchanged["drops"] = state.drops
        else:
            unchanged["blocks.number"] = instead.number
            kept = {"$filter": {"input": kept, "cond": {"$ne": ["$$this.number", instead.number]}}}
            away = {"number": instead.number, "at": self._clock()}
            garbage = {"$concatArrays": [garbage, [away]]}
        values = {"blocks": {"$concatArrays": [kept, blocks]}, "garbage": garbage}
        values |= {name: {"$literal": value} for name, value in change.get("$set", {}).items()}
        with timed("update"):
            result = await self._states.update_one(unchanged, [{"$set": values}])
        return bool(result.matched_count)

    async def _draw(self, account: str) -> int:
        """A number that no block has had. Until its block is part of the index it is garbage."""
        with timed("find_and_modify"):
            drawn = await self._states.find_one_and_update(
                {"_id": account}, {"$inc": {"next": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
            number = int(drawn["next"])
            await self._states.update_one(
                {"_id": account}, {"$push": {"garbage": {"number": number, "at": self._clock()}}}
            )
        return number

    async def _sweep(self, account: str) -> None:
        """Remove what is part of the index no more, or never got to be. First nobody can use it, then it goes."""
        with timed("find"):
            found = await self._states.find_one({"_id": account}, {"garbage": 1}) or {}
        for one in found.get("garbage", ()):
            if one["at"] > self._clock() - KEEP_GARBAGE:
                continue
            number = one["number"]
            with timed("update"):
                await self._states.update_one(
                    {"_id": account, "garbage.number": number}, {"$set": {"garbage.$.dead": True}}
                )
            with timed("delete"):
                await self.parts.delete_many(
                    {"_id": {"$gte": part(account, number, ""), "$lt": part(account, number, "~")}}
                )
            with timed("update"):
                await self._states.update_one({"_id": account}, {"$pull": {"garbage": {"number": number}}})
