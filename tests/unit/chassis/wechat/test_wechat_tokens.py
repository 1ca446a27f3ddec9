import asyncio
import json

import pytest
from wechat_stand_in import APPID, SECRET, Clock, MemoryStore, StandIn

from chassis.wechat.http import Answer, HttpClient, Reach
from chassis.wechat.stable_token import TokenReason, TokenTrouble, read_token
from chassis.wechat.tokens import BREAKER_SECONDS, RENEW_SECONDS, StoredToken, TokenSource
from contracts.errcodes import Fate

PATH = "/cgi-bin/stable_token"


class World:
    def __init__(self, wechat, http):
        self.wechat, self.http = wechat, http
        self.clock = Clock()
        self.store = MemoryStore(self.clock)

    def process(self):
        return TokenSource(self.store, self.http, self.wechat.url, APPID, SECRET, self.clock, sleep=self.clock.sleep)

    @property
    def fetches(self):
        return len(self.wechat.path_calls(PATH))


@pytest.fixture
async def world():
    http = HttpClient(connect_seconds=0.5, total_seconds=0.5)
    async with StandIn() as wechat:
        yield World(wechat, http)
    await http.close()


async def test_the_token_is_asked_for_in_the_body_without_force(world):
    token = await world.process().current()
    assert token.value == "ToKeN-0001-abcdefghij"
    assert token.expires_at == world.clock() + 7200
    (call,) = world.wechat.calls
    assert call["method"] == "POST"
    assert call["query"] == {}
    assert json.loads(call["body"]) == {
        "grant_type": "client_credential",
        "appid": APPID,
        "secret": SECRET,
        "force_refresh": False,
    }


async def test_many_callers_in_many_processes_share_one_fetch(world):
    processes = [world.process() for _ in range(4)]
    tokens = await asyncio.gather(*(process.current() for process in processes for _ in range(200)))
    assert {token.version for token in tokens} == {1}
    assert world.fetches == 1


async def test_a_valid_token_is_not_looked_up_again(world):
    process = world.process()
    first = await process.current()
    world.store.broken = True
    world.clock.now += 7200 - RENEW_SECONDS - 1
    assert await process.current() is first


async def test_a_token_is_renewed_five_minutes_before_its_end_once_for_all(world):
    processes = [world.process() for _ in range(4)]
    for process in processes:
        await process.current()
    world.clock.now += 7200 - RENEW_SECONDS + 1
    await asyncio.gather(*(process.current() for process in processes for _ in range(50)))
    assert world.fetches == 2
    assert {(await process.current()).version for process in processes} == {2}


async def test_the_old_token_serves_while_another_process_renews(world):
    process = world.process()
    old = await process.current()
    world.clock.now += 7200 - RENEW_SECONDS + 1
    assert await world.store.lease(APPID, "another process", 15)
    assert await process.current() == old
    assert world.fetches == 1


async def test_without_any_token_a_process_waits_for_the_one_that_renews(world):
    process = world.process()
    assert await world.store.lease(APPID, "another process", 15)
    waiting = asyncio.create_task(process.current())
    while world.clock() < 1731571201:
        await asyncio.sleep(0)
    await world.store.put(APPID, "from-the-other", world.clock() + 7200, 0)
    assert (await waiting).value == "from-the-other"
    assert world.fetches == 0


async def test_the_wait_for_another_process_ends(world):
    await world.store.lease(APPID, "a process that died", 15)
    with pytest.raises(TokenTrouble) as caught:
        await world.process().current()
    assert caught.value.reason_code is TokenReason.BUSY
    assert world.fetches == 0
    world.clock.now += 15
    assert await world.process().current()


async def test_a_token_that_came_between_the_look_and_the_lease_is_taken(world):
    process = world.process()
    look = world.store.get

    async def look_too_early(appid):
        before = await look(appid)
        if before is None:
            await world.store.put(APPID, "from-the-other", world.clock() + 7200, 0)
        return before

    world.store.get = look_too_early
    assert (await process.current()).value == "from-the-other"
    assert world.fetches == 0


async def test_a_refused_token_is_renewed_once_for_everyone(world):
    processes = [world.process() for _ in range(4)]
    failed = [await process.current() for process in processes]
    renewed = await asyncio.gather(
        *(process.refresh(token) for process, token in zip(processes, failed, strict=True) for _ in range(200))
    )
    assert {token.version for token in renewed} == {2}
    assert world.fetches == 2
    assert (await processes[0].refresh(failed[0])).version == 2
    assert world.fetches == 2


async def test_a_renewal_that_began_before_the_failure_does_not_count(world):
    process = world.process()
    first = await process.current()
    world.clock.now += 7200 - RENEW_SECONDS + 1
    assert await world.store.lease(APPID, "another process", 2)
    world.clock.now += 1
    spare = asyncio.create_task(process.current())
    await asyncio.sleep(0)
    renewed = await process.refresh(first)
    assert await spare == first
    assert renewed.version == 2


async def test_tokens_that_are_always_refused_end_at_the_breaker(world):
    process = world.process()
    token = await process.current()
    token = await process.refresh(token)
    for _ in range(500):
        with pytest.raises(TokenTrouble) as caught:
            await process.refresh(token)
        assert caught.value.reason_code is TokenReason.BREAKER_OPEN
    assert world.fetches == 2
    world.clock.now += BREAKER_SECONDS
    assert (await process.refresh(token)).version == 3


@pytest.mark.parametrize("fault", ["cut", "half", "silence", (502, b"bad gateway"), b"<html>", {}, {"errcode": -1}])
async def test_a_passing_failure_is_tried_once_more(world, fault):
    world.wechat.script[PATH].append(fault)
    assert (await world.process().current()).version == 1
    assert world.fetches == 2


async def test_two_failures_open_the_breaker_with_their_reason(world):
    world.wechat.script[PATH].extend(["cut"] * 9)
    process = world.process()
    for _ in range(5):
        with pytest.raises(TokenTrouble) as caught:
            await process.current()
        assert caught.value.reason_code is TokenReason.NETWORK
        assert caught.value.fate is Fate.RETRY
    assert world.fetches == 2


async def test_a_wrong_secret_is_asked_once_each_time_and_stops_at_the_breaker(world):
    world.wechat.script[PATH].extend([{"errcode": 40125, "errmsg": f"invalid appsecret {SECRET}"}] * 9)
    process = world.process()
    for fetches in (1, 2, 2, 2):
        with pytest.raises(TokenTrouble) as caught:
            await process.current()
        assert caught.value.reason_code is TokenReason.SECRET
        assert SECRET not in str(caught.value)
        assert world.fetches == fetches


async def test_a_failed_renewal_leaves_the_old_token_in_use(world):
    process = world.process()
    old = await process.current()
    world.clock.now += 7200 - RENEW_SECONDS + 1
    world.wechat.script[PATH].extend(["cut"] * 9)
    for _ in range(3):
        assert await process.current() == old
    world.clock.now += RENEW_SECONDS
    with pytest.raises(TokenTrouble):
        await process.current()


async def test_a_token_in_its_last_minutes_is_not_fetched_again_and_again(world):
    world.wechat.script[PATH].extend({"access_token": f"short-{n}", "expires_in": 200} for n in range(9))
    process = world.process()
    for _ in range(50):
        assert (await process.current()).value.startswith("short-")
    assert world.fetches == 2


async def test_a_store_that_is_away_does_not_stop_the_process(world, caplog):
    world.store.broken = True
    process = world.process()
    token = await process.current()
    assert (token.version, world.fetches) == (1, 1)
    assert (await process.refresh(token)).version == 2
    world.store.broken = False
    assert (await process.current()).version == 2
    assert SECRET not in caplog.text


async def test_a_store_that_was_emptied_starts_again(world):
    process = world.process()
    token = await process.refresh(await process.current())
    world.store.token = None
    world.clock.now += BREAKER_SECONDS
    again = await process.refresh(token)
    assert (again.version, world.fetches) == (1, 3)


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(world):
    process = world.process()
    first, second = asyncio.create_task(process.current()), asyncio.create_task(process.current())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).version == 1
    assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))


@pytest.mark.parametrize(
    ("errcode", "errmsg", "reason", "says"),
    [
        (40013, "invalid appid rid: 1-2-3", TokenReason.APPID, "appid is wrong"),
        (40125, "invalid appsecret rid: 1-2-3", TokenReason.SECRET, "AppSecret is wrong"),
        (40164, "invalid ip 182.150.41.147 ipv6 ::ffff:182.150.41.147, not in whitelist", TokenReason.IP_NOT_ALLOWED, "182.150.41.147, not in"),
        (40164, "not in whitelist", TokenReason.IP_NOT_ALLOWED, "Our address is not in"),
        (40243, "frozen", TokenReason.FROZEN, "frozen"),
        (50007, "frozen", TokenReason.FROZEN, "frozen"),
        (45009, "reach max", TokenReason.QUOTA, "midnight"),
        (-1, "system error", TokenReason.BUSY, "busy"),
        (77777, f"what {SECRET} is", TokenReason.REFUSED, "77777"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_plain_words(errcode, errmsg, reason, says):
    body = json.dumps({"errcode": errcode, "errmsg": errmsg}).encode()
    trouble = read_token(Answer(Reach.ANSWERED, 200, body), SECRET)
    assert isinstance(trouble, TokenTrouble)
    assert (trouble.reason_code, trouble.errcode) == (reason, errcode)
    assert says in trouble.sentence
    assert SECRET not in repr(trouble)
    assert trouble.fate is (Fate.WAIT_MIDNIGHT if reason is TokenReason.QUOTA else Fate.RETRY)


@pytest.mark.parametrize(
    "document",
    [
        {"access_token": "", "expires_in": 7200},
        {"access_token": "t", "expires_in": 0},
        {"access_token": "t", "expires_in": "7200"},
        {"access_token": 5, "expires_in": 7200},
        {"errcode": "x"},
    ],
)
def test_an_answer_that_is_no_token_is_a_passing_failure(document):
    trouble = read_token(Answer(Reach.ANSWERED, 200, json.dumps(document).encode()), SECRET)
    assert isinstance(trouble, TokenTrouble)
    assert trouble.reason_code is TokenReason.NETWORK


def test_a_token_does_not_show_itself():
    assert "abc" not in f"{StoredToken('abc', 1, 2.0)!r} {StoredToken('abc', 1, 2.0)}"
