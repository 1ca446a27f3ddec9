"""The search index on a real MongoDB: it finds what reading everything finds, whatever comes late or dies meanwhile."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.mongo import connect
from services.history import grams
from services.history.documents import Document, stored_id
from services.history.index import ERASING, KEEP_GARBAGE, Index
from services.history.query import Query
from services.history.reading import Reading
from services.history.searching import Search
from services.history.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORDS = ("报名", "怎么", "操作", "报", "名", "退款", "快递", "ＡＢＣ", "abc", "Straße", "龘", "👍🏽", "，", " ")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Killed(Exception):
    """Stands for kill -9: what was written stays, nothing more is."""


class Shelf:
    """A history with small blocks, and the messages in it."""

    def __init__(self, database: Any) -> None:
        self.clock = Clock()
        self.store = Store(database)
        self.index = self.another()
        self.reading = Reading(self.store, Search(self.store, self.index))
        self.random = random.Random(7)  # no secret
        self.count = 0

    def another(self) -> Index:
        """The index as another process has it."""
        return Index(self.store, self.clock, block=20, late_block=8)

    def made(self, count: int, *, ago: timedelta = timedelta(minutes=10), account: str = "demo") -> list[Document]:
        documents = []
        for _ in range(count):
            self.count += 1
            openid = f"o{self.random.randrange(4)}"
            text = "".join(self.random.choices(WORDS, k=self.random.randrange(5)))
            # Whole seconds, so that many share one.
            at = self.clock.now - ago + timedelta(seconds=self.random.randrange(30))
            way = self.random.choice(("in", "out"))
            name = stored_id(account, openid, str(self.count))
            row = {"_id": name, "account": account, "openid": openid, "direction": way, "kind": "text"}
            documents.append({**row, "at": at, "text": text})
        return documents

    async def store_(self, documents: list[Document]) -> None:
        """What the recorder does."""
        await self.store.add(self.store.messages, documents)
        await self.index.late(documents)

    async def indexed(self) -> None:
        while await self.index.step():
            pass

    async def check(self) -> None:
        """Every phrase, page by page, against reading everything."""
        everything = await self.store.messages.find().to_list(None)
        for phrase in ("报", "报名", "名报名", "怎么操作", "abc", "strasse", "👍", "快递龘", "不在", " "):
            for more in (
                {},
                {"account": "demo"},
                {"direction": "in"},
                {"openid": "o1"},
                {"account": "demo", "openid": "o2"},
            ):
                expected = [
                    one["_id"]
                    for one in sorted(everything, key=lambda one: (one["at"], one["_id"]), reverse=True)
                    if phrase in grams.normal(one["text"]) and all(one[name] == value for name, value in more.items())
                ]
                assert await self.pages(Query(text=phrase, limit=7, **more)) == expected, (phrase, more)

    async def pages(self, query: Query) -> list[str]:
        found = []
        while True:
            page, following = await self.reading.newest(query)
            found += [one["_id"] for one in page]
            if following is None:
                return found
            query = query._replace(before=following)


@pytest.fixture
async def shelf(mongo_url: str, mongo_db: str) -> AsyncIterator[Shelf]:
    client, database = connect(mongo_url, mongo_db, name="test")
    made = Shelf(database)
    await made.store.prepare()
    await made.index.prepare()
    yield made
    client.close()


async def blocks(shelf: Shelf, account: str = "demo") -> int:
    return len((await shelf.index.state(account)).blocks)


async def test_the_index_finds_what_reading_everything_finds(shelf: Shelf) -> None:
    await shelf.store.add(shelf.store.messages, [*shelf.made(110), *shelf.made(50, account="other")])
    await shelf.check()
    await shelf.indexed()
    assert (await blocks(shelf), await blocks(shelf, "other")) == (5, 2)
    await shelf.store_(shelf.made(15, ago=timedelta(seconds=31)))
    await shelf.check()


async def test_nothing_newer_than_half_a_minute_goes_into_a_block(shelf: Shelf) -> None:
    await shelf.store_(shelf.made(60, ago=timedelta(seconds=30)))
    await shelf.indexed()
    assert await blocks(shelf) == 0
    shelf.clock.now += timedelta(minutes=2)
    await shelf.indexed()
    assert await blocks(shelf) == 3


async def test_what_is_stored_late_is_found_before_and_after_it_gets_a_block(shelf: Shelf) -> None:
    await shelf.store_(shelf.made(80))
    await shelf.indexed()
    standing = await blocks(shelf)
    few = shelf.made(5, ago=timedelta(hours=1))
    await shelf.store_(few)
    await shelf.indexed()
    assert len(await shelf.index.noted("demo")) == 5, "too few for a block: they wait as notes"
    await shelf.check()
    await shelf.store_(shelf.made(9, ago=timedelta(minutes=10)))
    await shelf.indexed()
    assert await blocks(shelf) == standing + 1
    assert await shelf.index.noted("demo") == []
    await shelf.check()


async def test_a_late_message_that_comes_while_its_neighbours_are_sealed_is_not_lost(shelf: Shelf) -> None:
    await shelf.store.add(shelf.store.messages, shelf.made(40))
    late = shelf.made(10)
    write = shelf.index._write

    async def interrupted(*arguments: Any, **more: Any) -> bool:
        # Stored and noted between the reading of the block and its becoming part of the index.
        await shelf.store_(late)
        return await write(*arguments, **more)

    shelf.index._write = interrupted  # type: ignore[method-assign]
    await shelf.index.step()
    shelf.index._write = write  # type: ignore[method-assign]
    await shelf.check()
    await shelf.indexed()
    await shelf.check()


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_killed_in_the_middle_of_a_block(shelf: Shelf, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.history.index.WRITE", 30)
    await shelf.store.add(shelf.store.messages, shelf.made(70))
    insert, done = shelf.index.parts.insert_many, 0

    async def dying(*arguments: Any, **more: Any) -> Any:
        nonlocal done
        if done == after:
            raise Killed
        done += 1
        return await insert(*arguments, **more)

    shelf.index.parts.insert_many = dying
    with pytest.raises(Killed):
        await shelf.index.step()
    await shelf.check()
    fresh = shelf.another()
    while await fresh.step():
        pass
    await shelf.check()
    assert await blocks(shelf) == 3
    shelf.clock.now += KEEP_GARBAGE + timedelta(minutes=1)
    await fresh.step()
    state = await shelf.index._states.find_one({"_id": "demo"})
    standing = {f"{block['number']:08d}" for block in state["blocks"]}
    parts = await shelf.index.parts.find({}, {"_id": 1}).to_list(None)
    assert {one["_id"].split("|")[1] for one in parts} == standing, "what the killed one began is swept away"


async def test_two_at_the_same_block_leave_one(shelf: Shelf) -> None:
    await shelf.store.add(shelf.store.messages, shelf.made(20))
    state = await shelf.index.state("demo")
    assert await shelf.index._seal(state)
    assert not await shelf.another()._seal(state), "the watermark has moved"
    assert await blocks(shelf) == 1
    await shelf.check()


async def test_what_is_erased_is_gone_from_the_index(shelf: Shelf) -> None:
    await shelf.store_(shelf.made(60))
    await shelf.indexed()
    theirs = await shelf.store.messages.find({"openid": "o1"}).to_list(None)
    await shelf.index.forget("demo", theirs)
    await shelf.store.messages.delete_many({"openid": "o1"})
    await shelf.check()
    shelf.clock.now += ERASING
    await shelf.indexed()
    shelf.clock.now += KEEP_GARBAGE
    await shelf.indexed()
    held = await shelf.index.parts.find({"ids": {"$exists": True}}).to_list(None)
    assert held
    assert not [name for one in held for name in one["ids"] if "|o1|" in name]
    await shelf.check()


async def test_a_message_whose_time_changed_is_found_where_it_is_now(shelf: Shelf) -> None:
    await shelf.store_(shelf.made(60))
    await shelf.indexed()
    some = await shelf.store.messages.find({"text": {"$ne": ""}}).sort("at", -1).to_list(10)
    for one in some:
        one["at"] = NOW - timedelta(minutes=20)
        await shelf.store.messages.replace_one({"_id": one["_id"]}, one)
    await shelf.index.late(some, changed=True)
    await shelf.check()
    await shelf.indexed()
    assert await shelf.index.noted("demo") == []
    await shelf.check()
