"""Rule sets in MongoDB: published once, live everywhere, brought back in one step, whatever races and dies."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chassis.mongo import connect
from contracts.errors import Unavailable
from services.autoreply.announcing import published
from services.autoreply.filesource import RuleFiles
from services.autoreply.lastknown import LastKnown
from services.autoreply.publishing import Conflict, Published, Publishing, Unknown
from services.autoreply.replaying import Replay
from services.autoreply.repository import Live, RuleRepository, Taken
from services.autoreply.rulefile import RuleFileError, read
from services.autoreply.store import RuleStore
from services.gateway.triagetable import TriageTable

RULES = """\
version: 2
rules:
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: "%s"}}
  - {id: lottery, lane: entry, when: {text: {prefix: ["#抽奖"]}}, reply: {type: text, content: x}}
"""


@dataclass
class Stage:
    database: Any
    repository: RuleRepository
    publishing: Publishing
    told: list[Live]
    home: Path
    stores: list[RuleStore] = field(default_factory=list)

    async def store(self) -> RuleStore:
        """One more process's view of what is live."""
        made = RuleStore(self.repository, LastKnown(self.home / f"live{len(self.stores)}"))
        await made.start()
        self.stores.append(made)
        return made

    async def publish(self, content: str, **more: Any) -> Published:
        return await self.publishing.publish("demo", RULES % content, by=more.pop("by", "ann"), **more)


@pytest.fixture
async def stage(mongo_url: str, mongo_db: str, tmp_path: Path) -> AsyncIterator[Stage]:
    client, database = connect(mongo_url, mongo_db, name="test")
    repository = RuleRepository(database)
    await repository.prepare()
    told: list[Live] = []

    async def tell(live: Live) -> None:
        told.append(live)

    yield Stage(database, repository, Publishing(repository, tell), told, tmp_path)
    client.close()


def answer(store: RuleStore) -> tuple[str, str] | None:
    """What the live rules answer to 你好, and their version."""
    rules = store.get("demo")
    return (rules.document.rules[0].reply.content, rules.version) if rules else None  # type: ignore[union-attr]


async def test_published_rules_are_live_in_every_process_and_rolled_back_in_one_step(stage: Stage) -> None:
    one, other = await stage.store(), await stage.store()
    keeping = [asyncio.create_task(store.keep()) for store in (one, other)]
    try:
        for content, version in (("一", "1"), ("二", "2")):
            assert (await stage.publish(content, note="n")).live.version == int(version)
            async with asyncio.timeout(2):
                while not answer(one) == answer(other) == (content, version):
                    await asyncio.sleep(0.02)
        done = await stage.publishing.rollback("demo", 1, by="bob", note="wrong")
        assert (done.live.version, done.live.rolled_back, done.live.by) == (1, True, "bob")
        async with asyncio.timeout(2):
            while not answer(one) == answer(other) == ("一", "1"):
                await asyncio.sleep(0.02)
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
    assert [(live.version, live.rolled_back) for live in stage.told] == [(1, False), (2, False), (1, True)]
    assert len({published(live).event.id for live in stage.told}) == 3
    live = await stage.repository.live("demo")
    assert live is not None
    assert [(move.version, move.by, move.note) for move in live.moves] == [
        (1, "ann", "n"),
        (2, "ann", "n"),
        (1, "bob", "wrong"),
    ]


async def test_the_same_text_makes_no_new_version(stage: Stage) -> None:
    await stage.publish("一")
    again = await stage.publish("一", by="bob")
    assert (again.new, again.live.version, again.live.by) == (False, 1, "ann")


async def test_a_version_cannot_be_changed(stage: Stage) -> None:
    await stage.publish("一")
    version = await stage.repository.version("demo", 1)
    assert version is not None
    with pytest.raises(Taken):
        await stage.repository.add(version)


async def test_what_another_published_in_between_is_not_overwritten(stage: Stage) -> None:
    await stage.publish("一")
    await stage.publish("二", by="bob", base=1)
    for by in ("ann", "bob"):  # one's own from another window is as easily lost
        with pytest.raises(Conflict) as caught:
            await stage.publish("三", by=by, base=1)
        assert "by bob" in caught.value.detail
        assert caught.value.difference.changed[0].id == "hello"
        assert "-" in caught.value.difference.text
    assert (await stage.publish("三", base=2)).live.version == 3


async def test_of_many_who_publish_from_the_same_version_one_wins(stage: Stage) -> None:
    await stage.publish("零")
    results = await asyncio.gather(
        *(stage.publish(str(number), by=f"op{number}", base=1) for number in range(6)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, Published)]
    assert len(won) == 1
    assert all(isinstance(result, Published | Conflict) for result in results)
    live = await stage.repository.live("demo")
    assert live is not None
    assert (live.version, live.by) == (2, won[0].live.by)


async def test_a_publisher_killed_half_way_is_finished_by_the_next_who_looks(stage: Stage, monkeypatch: Any) -> None:
    await stage.publish("一")

    async def killed(_live: Live) -> Live:
        raise Unavailable("mongodb", "killed here")

    with monkeypatch.context() as patched:
        patched.setattr(stage.repository, "move", killed)
        with pytest.raises(Unavailable):
            await stage.publish("二")
    assert (await stage.repository.live("demo")).version == 1  # type: ignore[union-attr]
    repaired = await stage.repository.repaired("demo")
    assert repaired is not None
    assert (repaired.version, repaired.by) == (2, "ann")
    assert (await stage.publish("三", base=2)).live.version == 3


async def test_bad_rules_are_not_published(stage: Stage) -> None:
    await stage.publish("一")
    with pytest.raises(RuleFileError, match="keyword is empty"):
        await stage.publishing.publish("demo", (RULES % "x").replace("你好", " "), by="ann")
    over = (RULES % "x").replace('exact: ["你好"]}', "exact: [x]}, time: {to: '2020-01-01'}")
    with pytest.raises(RuleFileError, match="is over"):
        await stage.publishing.publish("demo", over, by="ann")
    with pytest.raises(Unknown):
        await stage.publishing.rollback("demo", 7, by="ann")
    assert (await stage.repository.live("demo")).version == 1  # type: ignore[union-attr]


def save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


BAD = [
    "version: 1\nrules: [",
    "version: 3",
    "",
    "version: 1\nrules: &a [*a]",
    "{{ template }}",
    "version: 1\nrules: [" + "[" * 3000,
    "\x00",
]


async def test_a_rule_file_is_published_when_it_changes_and_not_otherwise(stage: Stage, tmp_path: Path) -> None:
    files = RuleFiles(tmp_path, stage.repository, stage.publishing)
    twin = RuleFiles(tmp_path, stage.repository, stage.publishing)
    save(tmp_path / "demo.yaml", RULES % "一")
    await asyncio.gather(files.look(), twin.look(), return_exceptions=True)
    await files.look()
    await twin.look()
    assert [one.version for one in await stage.repository.versions("demo")] == [1]
    await stage.publish("二")
    await stage.publishing.rollback("demo", 1, by="ann")
    await stage.publish("三")
    # The file has not changed: what was published after it stays, for new processes too.
    await RuleFiles(tmp_path, stage.repository, stage.publishing).look()
    assert (await stage.repository.live("demo")).version == 3  # type: ignore[union-attr]
    save(tmp_path / "demo.yaml", RULES % "四")
    await files.look()
    live = await stage.repository.live("demo")
    assert live is not None
    assert (live.version, live.by) == (4, "file")


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_file_is_refused_and_the_old_rules_stay(stage: Stage, tmp_path: Path, bad: str) -> None:
    files = RuleFiles(tmp_path, stage.repository, stage.publishing)
    save(tmp_path / "demo.yaml", RULES % "一")
    save(tmp_path / "other.yaml", RULES % "二")
    await files.look()
    save(tmp_path / "demo.yaml", bad)
    save(tmp_path / "other.yaml", RULES % "三")
    await files.look()
    assert "line" in files.refused["demo"]
    assert (await stage.repository.live("demo")).version == 1  # type: ignore[union-attr]
    assert (await stage.repository.live("other")).version == 2  # type: ignore[union-attr]
    save(tmp_path / "demo.yaml", RULES % "好了")
    await files.look()
    assert files.refused == {}


async def test_without_mongodb_a_process_starts_with_what_it_knew(stage: Stage, monkeypatch: Any) -> None:
    await stage.publish("一")
    await stage.store()

    async def away() -> list[Live]:
        raise Unavailable("mongodb")

    monkeypatch.setattr(stage.repository, "all_live", away)
    started = RuleStore(stage.repository, LastKnown(stage.home / "live0"))
    await started.start()
    assert answer(started) == ("一", "1")
    with pytest.raises(Unavailable):
        await RuleStore(stage.repository, LastKnown(stage.home / "nothing")).start()


async def test_a_version_that_this_process_cannot_read_leaves_the_rules_before_it(stage: Stage) -> None:
    await stage.publish("一")
    store = await stage.store()
    await stage.publish("二")
    await stage.database["rulesets"].update_one({"_id": "demo|2"}, {"$set": {"text": "version: 9\nnew: thing\n"}})
    await store.refresh()
    assert answer(store) == ("一", "1")
    assert "demo" in store.refused
    await stage.publish("三")
    await store.refresh()
    assert (answer(store), store.refused) == (("三", "3"), {})


async def test_gateways_learn_the_entries_of_the_live_rules(stage: Stage) -> None:
    table = TriageTable(stage.database)
    await table.refresh()
    assert table.get("demo") is None
    await stage.publish("一")
    await table.refresh()
    texts = table.get("demo")
    assert texts is not None
    assert texts.find("#抽奖 我要")
    assert not texts.find("你好")
    await stage.publishing.publish("demo", (RULES % "二").replace("#抽奖", "#投票"), by="ann")
    await table.refresh()
    texts = table.get("demo")
    assert texts is not None
    assert texts.find("#投票")
    assert not texts.find("#抽奖")


async def test_drafts_do_not_overwrite_each_other(stage: Stage) -> None:
    first = await stage.publishing.save_draft("demo", "version: 2\n", by="ann", base=0, known=None)
    with pytest.raises(Taken):
        await stage.publishing.save_draft("demo", "other", by="bob", base=0, known=None)
    second = await stage.publishing.save_draft("demo", "next", by="bob", base=0, known=first.etag)
    with pytest.raises(Taken):
        await stage.publishing.save_draft("demo", "late", by="ann", base=0, known=first.etag)
    assert second.etag != first.etag
    assert await stage.repository.drop_draft("demo", second.etag)
    assert await stage.repository.draft("demo") is None


def test_a_replay_counts_and_lists_what_changes() -> None:
    from datetime import UTC, datetime

    def message(number: int, text: str) -> dict[str, Any]:
        at = datetime(2026, 11, 24, 1, number, tzinfo=UTC)
        return {
            "_id": f"m{number}",
            "account": "demo",
            "openid": "oA",
            "kind": "text",
            "text": text,
            "at": at,
            "lane": "question",
        }

    before, after = read(RULES % "旧"), read(RULES % "新")
    replay = Replay(before, after, datetime(2026, 11, 24, tzinfo=UTC), shown=1)
    changes = replay.page([message(1, "你好"), message(2, "#抽奖"), message(3, "别的"), message(4, "你好")], {})
    assert (replay.read, replay.changed) == (4, 2)
    assert [(one.id, one.before.answers, one.after.answers) for one in changes] == [("m1", ("旧",), ("新",))]
    assert [(one.before, one.after, one.messages) for one in replay.counts()] == [("hello", "hello", 2)]
