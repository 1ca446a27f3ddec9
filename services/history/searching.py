"""Finding a phrase in the history: in the tail that is not in the index yet, then block by block, newest first."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from chassis.mongo import timed
from contracts.errors import Unavailable
from services.history import grams
from services.history.blocks import IDS, Block, ids, posting
from services.history.documents import Document
from services.history.index import Index
from services.history.query import Position, Query
from services.history.store import ACCOUNT_INDEX, ID_INDEX, Store

MAX_SECONDS = 2.0
"""Longest search. It is reached only by a common phrase under conditions that hardly any message meets."""
SCAN = 4096
FETCH = 256
GROUPS = (2, 8, 32, 64)
"""Blocks looked through at a time: common phrases are found in the first, rare ones need few round trips."""
_FIELDS = {"text": 1, "at": 1}


class TooBroad(Unavailable):
    """The search would have taken too long."""


class _Found:
    """The newest matches so far; complete when nothing that was not looked at could be among them."""

    def __init__(self, phrase: str, limit: int) -> None:
        self.phrase = phrase
        self.limit = limit
        self._documents: dict[str, Position] = {}
        self._deadline = time.monotonic() + MAX_SECONDS

    def offer(self, document: Document) -> bool:
        """Take a message up if it has the phrase; whether it has."""
        if self.phrase not in grams.normal(document["text"]):
            return False
        self._documents[document["_id"]] = Position(document["at"], document["_id"])
        return True

    def best(self) -> list[Position]:
        return sorted(self._documents.values(), reverse=True)[: self.limit]

    def beats(self, at: Any) -> bool:
        """Whether a full page is newer than everything from this time on back."""
        best = self.best()
        return len(best) == self.limit and best[-1].at > at

    def check(self) -> None:
        """Raises ``TooBroad`` when the time is up."""
        if time.monotonic() > self._deadline:
            raise TooBroad("mongodb", "the search took longer than it may")


class Search:
    """Reads what ``Index`` writes. Every call raises ``Unavailable`` when MongoDB is away."""

    def __init__(self, store: Store, index: Index) -> None:
        self._messages = store.messages
        self._index = index

    async def newest(
        self, query: Query, phrase: str, accounts: list[str], conditions: list[Document], limit: int
    ) -> list[Document]:
        """The newest messages that have the normalised phrase and meet the conditions, the cursor's among them."""
        found = _Found(phrase, limit)
        blocks: list[Block] = []
        for account in accounts:
            # In this order: what is no longer noted, or no longer in the tail, is in the blocks.
            noted = await self._index.noted(account)
            state = await self._index.state(account)
            blocks += [block for block in state.blocks if _may_have(block, query)]
            at, name = state.watermark
            tail: list[Document] = [
                {"account": account, "at": {"$gte": at}},
                {"$or": [{"at": {"$gt": at}}, {"_id": {"$gt": name}}]},
            ]
            await self._scan(found, [*tail, *conditions], ACCOUNT_INDEX)
            for begin in range(0, len(noted), SCAN):
                await self._offer(found, noted[begin : begin + SCAN], conditions, lambda _: True)
        await self._blocks(found, sorted(blocks, key=lambda block: block.last, reverse=True), conditions)
        return await self._documents(found.best())

    async def scan(self, phrase: str, conditions: list[Document], index: str, limit: int) -> list[Document]:
        """The same without the index, for conditions that leave little to read, such as one follower's messages."""
        found = _Found(phrase, limit)
        await self._scan(found, conditions, index)
        return await self._documents(found.best())

    async def _scan(self, found: _Found, conditions: list[Document], index: str) -> None:
        cursor = self._messages.find({"$and": [*conditions, {"text": {"$gt": ""}}]}, _FIELDS, hint=index)
        cursor = cursor.sort([("at", -1), ("_id", -1)]).batch_size(SCAN).max_time_ms(int(MAX_SECONDS * 1000))
        left = found.limit
        while True:
            with timed("find"):
                documents = await cursor.to_list(SCAN)
            for document in documents:
                left -= found.offer(document)
                if not left:
                    await cursor.close()
                    return
            if len(documents) < SCAN:
                return
            found.check()

    async def _offer(
        self, found: _Found, names: list[str], conditions: list[Document], believed: Callable[[Document], bool]
    ) -> None:
        with timed("find"):
            documents = await self._messages.find(
                # Told which index: with an account among the conditions the server may try to walk all of it.
                {"$and": [{"_id": {"$in": names}}, *conditions]},
                _FIELDS,
                hint=ID_INDEX,
            ).to_list(None)
        for document in documents:
            if believed(document):
                found.offer(document)
        found.check()

    async def _blocks(self, found: _Found, blocks: list[Block], conditions: list[Document]) -> None:
        begin = 0
        for step in range(len(blocks)):
            group = blocks[begin : begin + GROUPS[min(step, len(GROUPS) - 1)]]
            begin += len(group)
            if not group or found.beats(group[0].last):
                return
            places = await self._places(group, found.phrase)
            await self._look(found, [(block, place) for block in group for place in places[block]], conditions)

    async def _places(self, group: list[Block], phrase: str) -> dict[Block, list[int]]:
        """For each block the places of the texts that have all grams of the phrase, newest first."""
        sought = grams.sought(phrase)
        wanted = {posting(block.account, block.number, gram) for block in group for gram in sought}
        with timed("find"):
            parts = await self._index.parts.find({"_id": {"$in": sorted(wanted)}}).to_list(None)
        packed = {one["_id"]: one["grams"] for one in parts}
        places: dict[Block, list[int]] = {}
        for block in group:
            common: set[int] | None = None
            for gram in sought:
                having = grams.places(packed.get(posting(block.account, block.number, gram), b"\x80"), gram)
                common = set(having) if common is None else common.intersection(having)
                if not common:
                    break
            places[block] = sorted(common or (), reverse=True)
        return places

    async def _look(self, found: _Found, candidates: list[tuple[Block, int]], conditions: list[Document]) -> None:
        """Look at the texts at these places. A message whose time changed since is another block's to find."""
        for begin in range(0, len(candidates), FETCH):
            some, rest = candidates[begin : begin + FETCH], candidates[begin + FETCH :]
            named = await self._named(some)
            oldest: dict[Block, datetime] = {}

            def believed(document: Document, named: dict[str, list[Block]], oldest: dict[Block, datetime]) -> bool:
                at = document["at"]
                holding = [block for block in named[document["_id"]] if block.first <= at <= block.last]
                for block in holding:
                    oldest[block] = min(oldest.get(block, at), at)
                return bool(holding)

            await self._offer(found, list(named), conditions, partial(believed, named=named, oldest=oldest))
            if rest:
                # Of the block in the middle of which this stopped, the rest is older than what was seen of it.
                first = rest[0][0]
                bounds = [block.last for block, _ in rest if block != first]
                bounds.append(oldest.get(first, first.last))
                if found.beats(max(bounds)):
                    return

    async def _named(self, candidates: list[tuple[Block, int]]) -> dict[str, list[Block]]:
        """The ids of the messages at these places, each with the blocks that name it."""
        stretches = {ids(block.account, block.number, place) for block, place in candidates}
        with timed("find"):
            parts = await self._index.parts.find({"_id": {"$in": sorted(stretches)}}).to_list(None)
        held = {one["_id"]: one["ids"] for one in parts}
        found: dict[str, list[Block]] = {}
        for block, place in candidates:
            if stretch := held.get(ids(block.account, block.number, place)):
                found.setdefault(stretch[place % IDS], []).append(block)
        return found

    async def _documents(self, positions: list[Position]) -> list[Document]:
        with timed("find"):
            found: list[Document] = await self._messages.find(
                {"_id": {"$in": [position.id for position in positions]}}
            ).to_list(None)
        return sorted(found, key=lambda one: (one["at"], one["_id"]), reverse=True)


def _may_have(block: Block, query: Query) -> bool:
    latest = query.before.at if query.before else None
    return not (
        (query.start and block.last < query.start)
        or (query.end and block.first >= query.end)
        or (latest and block.first > latest)
    )
