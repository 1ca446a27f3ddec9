"""What couriers share in a real MongoDB: the ledger's claims, the tokens, the speed, the clock."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from courier_stage import send

from chassis.mongo import connect
from chassis.wechat.tokens import TokenStore
from contracts.envelope import data_as
from contracts.errors import Later
from contracts.facts import Send, Window
from services.gateway.accounts import Account
from services.gateway.courier import budget
from services.gateway.courier.allowance import Share
from services.gateway.courier.allowances import Allowances
from services.gateway.courier.clock import ServerClock
from services.gateway.courier.rates import Paused, Rates
from services.gateway.courier.tokens import MongoTokens
from services.gateway.ledger import Claim, Held, Ledger, Settled, claim_passive

OPENID = "oABCDEFGHIJKLMNOPQRSTUVWXYZ1"
ORDER = send(OPENID, "k")
SEND = data_as(ORDER, Send)


class Times:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 20, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
async def database(mongo_url: str, mongo_db: str) -> AsyncIterator[Any]:
    client, database = connect(mongo_url, mongo_db, name="test")
    yield database
    client.close()


@pytest.fixture
def clock() -> Times:
    return Times()


def ledgers(database: Any, clock: Times, count: int = 2) -> list[Ledger]:
    return [Ledger(database, clock, f"holder{n}") for n in range(count)]


async def test_of_many_claims_one_wins(database: Any, clock: Times) -> None:
    several = ledgers(database, clock, 4)
    for number in range(10):
        order = send(OPENID, f"k{number}")
        found = await asyncio.gather(*(ledger.claim(order, SEND, "reply") for ledger in several * 5))
        assert sum(isinstance(one, Claim) for one in found) == 1
        assert sum(isinstance(one, Held) for one in found) == 19


async def test_of_a_claim_and_a_passive_one_exactly_one_wins(database: Any, clock: Times) -> None:
    (ledger,) = ledgers(database, clock, 1)
    for number in range(40):
        order = send(OPENID, f"k{number}")
        found, passive = await asyncio.gather(
            ledger.claim(order, SEND, "reply"), claim_passive(database, order.id, "demo", OPENID)
        )
        assert isinstance(found, Claim) != passive
        if passive:
            assert isinstance(found, Settled)
            assert found.row["state"] == "passive"


async def test_who_lost_a_claim_can_change_nothing(database: Any, clock: Times) -> None:
    slow, quick = ledgers(database, clock)
    old = await slow.claim(ORDER, SEND, "reply")
    assert isinstance(old, Claim)
    assert isinstance(await quick.claim(ORDER, SEND, "reply"), Held)
    clock.pass_(21)
    new = await quick.claim(ORDER, SEND, "reply")
    assert isinstance(new, Claim)
    assert new.fence > old.fence
    assert not await slow.sending(old)
    await slow.release(old, "too late")
    assert await slow.finish(old, "failed", None, "too late") is None
    assert await quick.sending(new)
    row = await quick.finish(new, "sent", 0, "")
    assert row
    assert row["state"] == "sent"
    assert not await slow.sending(old)


async def test_an_expired_call_is_unknown_never_claimed_again_and_a_late_answer_still_counts(
    database: Any, clock: Times
) -> None:
    first, second = ledgers(database, clock)
    claim = await first.claim(ORDER, SEND, "reply")
    assert isinstance(claim, Claim)
    assert await first.sending(claim)
    assert isinstance(await second.claim(ORDER, SEND, "reply"), Held)
    assert await second.expire() is None
    clock.pass_(31)
    settled = await second.claim(ORDER, SEND, "reply")
    assert isinstance(settled, Settled)
    assert settled.just_now
    assert settled.row["state"] == "unknown"
    again = await first.claim(ORDER, SEND, "reply")
    assert isinstance(again, Settled)
    assert not again.just_now
    assert await second.expire() is None  # whoever settled it tells about it
    row = await first.finish(claim, "sent", 0, "")
    assert row
    assert set(row["at"]) == {"new", "claimed", "sending", "unknown", "sent"}


async def test_one_sweeper_at_a_time_tells_and_the_next_one_after_a_kill(database: Any, clock: Times) -> None:
    first, second = ledgers(database, clock)
    await first.prepare()
    claim = await first.claim(ORDER, SEND, "reply")
    assert isinstance(claim, Claim)
    await first.sending(claim)
    clock.pass_(31)
    row = await first.expire()
    assert row
    assert row["content"]["content"] == "k"
    assert await second.expire() is None
    clock.pass_(21)  # the first was killed before it told
    row = await second.expire()
    assert row
    await second.told(row)
    clock.pass_(1000)
    assert await first.expire() is None


async def test_a_passive_answer_may_take_what_was_given_back_only(database: Any, clock: Times) -> None:
    (ledger,) = ledgers(database, clock, 1)
    claim = await ledger.claim(ORDER, SEND, "reply")
    assert isinstance(claim, Claim)
    assert not await claim_passive(database, ORDER.id, "demo", OPENID)
    await ledger.release(claim, "busy")
    assert await claim_passive(database, ORDER.id, "demo", OPENID)
    assert isinstance(await ledger.claim(ORDER, SEND, "reply"), Settled)


async def test_an_allowance_taken_by_many_at_once_is_exact(database: Any, clock: Times) -> None:
    several = [Allowances(database, clock) for _ in range(3)]
    window = Window("message", clock() - timedelta(minutes=1))
    refusals = await asyncio.gather(
        *(several[n % 3].take("demo", OPENID, Share(f"s{n}", 1), [window]) for n in range(24))
    )
    assert refusals.count("") == 5
    await several[0].give_back("demo", OPENID, Share(f"s{refusals.index('')}", 1))
    assert await several[1].take("demo", OPENID, Share("new", 1), []) == ""
    assert "All 5 sends" in await several[2].take("demo", OPENID, Share("newer", 1), [window])


async def test_tokens_are_leased_to_one_and_put_once(database: Any, clock: Times) -> None:
    store: TokenStore = MongoTokens(database, clock)
    assert await store.get("wx") is None
    assert sorted(await asyncio.gather(*(store.lease("wx", f"h{n}", 15) for n in range(8)))) == [False] * 7 + [True]
    document = await database.tokens.find_one({"_id": "wx"})
    holder = document["lease"]["holder"]
    assert await store.lease("wx", holder, 15)
    assert await store.get("wx") is None
    stored = await store.put("wx", "first", 1000.0, 0)
    assert (stored.value, stored.version) == ("first", 1)
    assert await store.lease("wx", "other", 15)  # the lease ended with the put
    clock.pass_(16)
    assert await store.lease("wx", "third", 15)  # and this one by itself
    late = await store.put("wx", "late", 2000.0, 0)
    assert (late.value, late.version) == ("first", 1)
    newer = await store.put("wx", "second", 2000.0, 1)
    assert (newer.value, newer.version) == ("second", 2)
    assert await store.get("wx") == newer


def account(speed: float) -> Account:
    return Account(name="demo", appid="wx", secret="s", token="t", original_id="gh_12345678", sends_per_second=speed)


async def test_no_permit_too_many_though_processes_die(database: Any) -> None:
    clock = ServerClock(database)
    await clock.sync()
    demo = account(60)
    given: list[float] = []

    async def sender(rates: Rates, kind: str) -> None:
        while True:
            await rates.permit(demo, kind)
            given.append(time.monotonic())

    async def process(kinds: tuple[str, ...], lives: float) -> None:
        rates = Rates(database, clock)
        tasks = [asyncio.ensure_future(sender(rates, kind)) for kind in kinds * 10]
        await asyncio.sleep(lives)
        for task in tasks:
            task.cancel()

    started = time.monotonic()
    dice = random.Random(3)
    while time.monotonic() - started < 3:
        await asyncio.gather(*(process(("urgent", "bulk"), dice.uniform(0.1, 0.9)) for _ in range(3)))
    passed = time.monotonic() - started
    assert len(given) <= 60 * passed + budget.capacity("urgent", 60)
    assert len(given) >= 0.5 * 60 * passed


async def test_mongodb_is_asked_ten_times_a_second_and_not_more(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerClock(database)
    rates, draws = Rates(database, clock), 0
    draw = rates.draw

    async def counted(*arguments: Any) -> Any:
        nonlocal draws
        draws += 1
        return await draw(*arguments)

    monkeypatch.setattr(rates, "draw", counted)
    started = time.monotonic()
    await asyncio.gather(*(rates.permit(account(200), "reply") for _ in range(300)))
    passed = time.monotonic() - started
    assert draws <= 10 * passed + 2
    await asyncio.sleep(0.15)
    started = time.monotonic()
    await rates.permit(account(200), "urgent")
    assert time.monotonic() - started < 0.1  # nobody waits on a quiet day


async def test_a_pause_holds_for_all_at_once_and_ends(database: Any, clock: Times) -> None:
    mine, other = Rates(database, clock), Rates(database, clock)
    demo = account(100)
    await mine.permit(demo, "bulk")
    await other.permit(demo, "bulk")
    assert await mine.pause("demo", budget.THROTTLED) == 5
    for rates in (mine, other):
        with pytest.raises(Paused) as paused:
            await rates.permit(demo, "urgent")
        assert paused.value.seconds == 5
    clock.pass_(5)
    await mine.permit(demo, "urgent")
    assert await other.pause("demo", budget.THROTTLED) == 15
    assert await mine.pause("demo", budget.THROTTLED) == 15


async def test_a_pause_taken_back_is_noticed(database: Any, clock: Times) -> None:
    rates = Rates(database, clock)
    await rates.pause("demo", budget.QUOTA)
    await database.budgets.update_one({"_id": "demo"}, {"$unset": {"pause": ""}, "$inc": {"version": 1}})
    with pytest.raises(Paused):
        await rates.permit(account(100), "bulk")
    clock.pass_(6)
    await rates.permit(account(100), "bulk")


async def test_who_is_stopping_gives_no_permits(database: Any, clock: Times) -> None:
    stopping = False
    rates = Rates(database, clock, lambda: stopping)
    crowd = [asyncio.ensure_future(rates.permit(account(1), "bulk")) for _ in range(20)]
    await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
    stopping = True
    ended = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(one is None or isinstance(one, Later) for one in ended)
    assert sum(one is None for one in ended) < 20


async def test_the_clock_is_the_server_s_whatever_the_machine_s_says(database: Any) -> None:
    machine = 1000.0
    clock = ServerClock(database, monotonic=lambda: machine)
    clock._base = datetime(2001, 1, 1, tzinfo=UTC)
    await clock.sync()
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=2)
    before = clock()
    machine += 7.5
    assert clock() - before == timedelta(seconds=7.5)
