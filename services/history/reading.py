"""Reading the history: lists, single messages with their answers, and what a follower's messages tell about them."""

from __future__ import annotations

import re
from datetime import datetime

from chassis.mongo import ASCENDING, DESCENDING, timed
from contracts.errors import Unavailable
from contracts.wechat import INTERACTIONS
from services.history.documents import Document, of_follower
from services.history.grams import normal
from services.history.query import Position, Query
from services.history.searching import Search, TooBroad
from services.history.store import ACCOUNT_INDEX, ID_INDEX, Store

MAX_LIST_MILLISECONDS = 500
MAX_EXPORT_MILLISECONDS = 2500
MAX_ANSWERS = 100
MAX_COUNT = 10_000
MAX_TIME_EXPIRED = 50
_MESSAGES_ONLY = {"$not": re.compile(r"^event\.")}


def too_slow(error: Unavailable) -> bool:
    """The store is there, but the question would have taken it too long."""
    return isinstance(error, TooBroad) or getattr(error.__cause__, "code", None) == MAX_TIME_EXPIRED


class Reading:
    """Questions to ``messages``. Every call raises ``Unavailable`` when MongoDB is away or needs too long."""

    def __init__(self, store: Store, search: Search) -> None:
        self._messages = store.messages
        self._search = search

    async def newest(self, query: Query) -> tuple[list[Document], Position | None]:
        """A page of messages, newest first, and where the next page goes on, if there is one."""
        conditions: list[Document] = []
        if query.before:
            at, name = query.before
            conditions = [{"at": {"$lte": at}}, {"$or": [{"at": {"$lt": at}}, {"_id": {"$lt": name}}]}]
        documents = await self._page(query, conditions, DESCENDING, query.limit + 1, MAX_LIST_MILLISECONDS)
        page = documents[: query.limit]
        last = page[-1] if len(documents) > query.limit else None
        return page, Position(last["at"], last["_id"]) if last else None

    async def oldest(self, query: Query, after: Position | None, limit: int) -> list[Document]:
        """A page of messages, oldest first, after a position."""
        conditions: list[Document] = []
        if after:
            at, name = after
            conditions = [{"at": {"$gte": at}}, {"$or": [{"at": {"$gt": at}}, {"_id": {"$gt": name}}]}]
        return await self._page(query, conditions, ASCENDING, limit, MAX_EXPORT_MILLISECONDS)

    async def one(self, name: str) -> Document | None:
        with timed("find"):
            found: Document | None = await self._messages.find_one({"_id": name})
        return found

    async def answers(self, name: str) -> list[Document]:
        """The automatic answers to a message: their ids begin with its own, so they lie right behind it."""
        behind = {"_id": {"$gt": f"{name}#r", "$lt": f"{name}#s"}, "cause": name}
        with timed("find"):
            found: list[Document] = await self._messages.find(behind).sort("_id").to_list(MAX_ANSWERS)
        return found

    async def follower(self, account: str, openid: str) -> Document:
        """What a follower's messages tell: first and last signs of life, and how many messages either way."""
        came = {"direction": "in"}
        messages_in, in_capped = await self._count(account, openid, {**came, "kind": _MESSAGES_ONLY})
        messages_out, out_capped = await self._count(account, openid, {"direction": "out"})
        interactions = {**came, "kind": {"$in": [f"event.{event}" for event in sorted(INTERACTIONS)]}}
        return {
            "first_seen": await self._when(account, openid, came, ASCENDING),
            "last_seen": await self._when(account, openid, came, DESCENDING),
            "last_message_at": await self._when(account, openid, {**came, "kind": _MESSAGES_ONLY}, DESCENDING),
            "last_interaction_at": await self._when(account, openid, interactions, DESCENDING),
            "messages_in": messages_in,
            "messages_in_capped": in_capped,
            "messages_out": messages_out,
            "messages_out_capped": out_capped,
        }

    async def _page(
        self, query: Query, conditions: list[Document], order: int, limit: int, milliseconds: int
    ) -> list[Document]:
        wanted = [*conditions, *_conditions(query)]
        phrase = normal(query.text)
        accounts = [query.account]
        if not query.account:
            with timed("distinct"):
                accounts = await self._messages.distinct("account", maxTimeMS=milliseconds)
        if query.openid:
            wanted.append({"$or": [of_follower(account, query.openid) for account in accounts or [""]]})
            if phrase:
                return await self._search.scan(phrase, wanted, ID_INDEX, limit)
        elif phrase:
            return await self._search.newest(query, phrase, accounts, wanted, limit)
        else:
            # One ordered scan for each account, merged by the server: an index on time alone would cost every write.
            wanted.append({"account": {"$in": accounts}})
        cursor = self._messages.find(
            {"$and": wanted}, hint=ID_INDEX if query.openid else ACCOUNT_INDEX, batch_size=limit
        )
        with timed("find"):
            found: list[Document] = (
                await cursor.sort([("at", order), ("_id", order)]).limit(limit).max_time_ms(milliseconds).to_list(limit)
            )
        return found

    async def _when(self, account: str, openid: str, more: Document, order: int) -> datetime | None:
        with timed("find"):
            found = await self._messages.find_one(
                {**of_follower(account, openid), **more},
                {"at": 1},
                sort=[("at", order)],
                hint=ID_INDEX,
                max_time_ms=MAX_LIST_MILLISECONDS,
            )
        return found["at"] if found else None

    async def _count(self, account: str, openid: str, more: Document) -> tuple[int, bool]:
        with timed("count"):
            count: int = await self._messages.count_documents(
                {**of_follower(account, openid), **more},
                limit=MAX_COUNT + 1,
                hint=ID_INDEX,
                maxTimeMS=MAX_LIST_MILLISECONDS,
            )
        return min(count, MAX_COUNT), count > MAX_COUNT


def _conditions(query: Query) -> list[Document]:
    names = ("account", "direction", "kind")
    conditions: list[Document] = [{name: value} for name in names if (value := getattr(query, name))]
    if query.start:
        conditions.append({"at": {"$gte": query.start}})
    if query.end:
        conditions.append({"at": {"$lt": query.end}})
    return conditions
