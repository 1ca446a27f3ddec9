"""What deciding asks MongoDB about followers, on a real one: only theirs, and each collection once for a whole batch."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.mongo import connect
from contracts.content import Text
from contracts.envelope import Event, raw
from contracts.facts import Because, Part
from services.autoreply.memory import Memory, Profile
from services.autoreply.turn import Turn
from services.autoreply.verdict import Verdict

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
VERDICT = Verdict("exact", ("coupon",), (Part(Text("券码"), Because(rule="coupon")),))
OA, OB, OC = (("demo", f"o{letter}") for letter in "ABC")


@pytest.fixture
async def database(mongo_url: str, mongo_db: str) -> AsyncIterator[Any]:
    client, database = connect(mongo_url, mongo_db, name="test")
    yield database
    client.close()


@pytest.fixture
async def memory(database: Any) -> Memory:
    memory = Memory(database)
    await memory.prepare()
    return memory


def message(openid: str, number: int, seconds: float, **more: Any) -> dict[str, Any]:
    at = NOW + timedelta(seconds=seconds)
    whole = {"account": "demo", "openid": openid, "direction": "in", "kind": "text", "at": at}
    return {"_id": f"demo|{openid}|{number}", **whole, **more}


def event(openid: str, number: int, seconds: float) -> Event:
    return Event(
        id=f"demo|{openid}|{number}", source="/accounts/demo", type="wechat.message.text", subject=openid,
        time=NOW + timedelta(seconds=seconds), account="demo", data=raw({}),
    )  # fmt: skip


async def test_a_turn_is_written_once_for_each_who_saw_it_as_it_was(memory: Memory) -> None:
    seen = await memory.turns([OA, OB])
    assert seen == {OA: Turn(OA), OB: Turn(OB)}
    mine = seen[OA].fire(["coupon"], NOW, "2026-05-04").decide("e1", NOW, VERDICT)
    theirs = seen[OA].fire(["coupon"], NOW, "2026-05-04").decide("e2", NOW, VERDICT)
    other = seen[OB].decide("e3", NOW, VERDICT)
    lost = await asyncio.gather(memory.write([mine, other]), memory.write([theirs]))
    assert sorted(map(len, lost)) == [0, 1]
    stored = await memory.turns([OA, OB])
    assert stored[OA].fired["coupon"].ever == 1
    assert stored[OB].recall("e3") == VERDICT
    # The one who lost sees what the other wrote, and counts on from there.
    again = stored[OA].fire(["coupon"], NOW, "2026-05-04").decide("e4", NOW, VERDICT)
    assert await memory.write([again]) == set()
    assert await memory.write([again]) == set()  # an answer that was lost: it stands already
    after = (await memory.turns([OA]))[OA]
    assert (after.fired["coupon"].ever, after.revision) == (2, 2)


async def test_whether_somebody_wrote_before_is_read_from_the_history(memory: Memory, database: Any) -> None:
    await database.messages.insert_many(
        [
            message("oA", 1, -60),
            message("oB", 1, -60, kind="event.subscribe"),
            message("oB", 2, -50, direction="out"),
            message("oB", 9, 0),  # the message itself: history was quicker
            message("oB", 10, 5),
            message("oC2", 1, -60),  # another follower, whose name begins alike
        ]
    )
    asked = {OA: event("oA", 9, 0), OB: event("oB", 9, 0), OC: event("oC", 9, 0)}
    assert await memory.wrote_before(asked) == {OA}


async def test_an_answer_in_between_is_one_that_does_not_belong_to_the_unanswered_turn(
    memory: Memory, database: Any
) -> None:
    turns = [Turn(follower, unanswered=(f"demo|{follower[1]}|5",), unanswered_at=NOW) for follower in (OA, OB, OC)]
    out = {"direction": "out", "because": {"rule": "hello"}}
    await database.messages.insert_many(
        [
            message("oA", 6, 3, cause="demo|oA|6", **out),
            message("oB", 5, 1, cause="demo|oB|5", **out),  # its own acknowledgement
            message("oB", 4, -9, cause="demo|oB|4", **out),
            message("oC", 5, 9, cause="demo|oC|5", direction="out", because={"agent": "lan"}),
        ]
    )
    assert await memory.answered_since(turns) == {OA, OC}


async def test_a_whole_batch_is_asked_about_at_once(memory: Memory, database: Any) -> None:
    await database.messages.insert_many([message(f"o{number:03}", 1, -60) for number in range(0, 250, 2)])
    asked = {("demo", f"o{number:03}"): event(f"o{number:03}", 9, 0) for number in range(250)}
    assert await memory.wrote_before(asked) == {("demo", f"o{number:03}") for number in range(0, 250, 2)}


async def test_profiles_are_what_history_knows(memory: Memory, database: Any) -> None:
    await database.followers.insert_one(
        {"_id": "demo|oA", "account": "demo", "openid": "oA", "tags": ["vip"], "subscribed_at": NOW}
    )
    assert await memory.profiles([OA, OB]) == {OA: Profile(frozenset(["vip"]), NOW)}
