"""The client of a drafting endpoint, against a real HTTP server that does what such endpoints do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chassis.llm import MAX_ANSWER_TOKENS, Llm
from chassis.settings import Settings
from contracts.errors import SettingsError, Unavailable

KEY = "sk-of-a-test"
DAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Endpoint:
    """``answer`` is what it does with the next calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Any], str]] = []
        self.answer: Callable[[], web.Response] = lambda: completion("您好，成人票 200 元。", 120)
        self.hold: asyncio.Event | None = None

    async def serve(self, request: web.Request) -> web.Response:
        self.calls.append((await request.json(), request.headers.get("Authorization", "")))
        if self.hold:
            await self.hold.wait()
        return self.answer()


class Allowance:
    """The day's tokens in memory; the one in MongoDB has a test of its own."""

    def __init__(self, cap: int = 100_000) -> None:
        self.cap, self.used, self.away = cap, 0, False

    async def reserve(self, day: str, tokens: int) -> bool:
        if self.away:
            raise Unavailable("mongodb", "not there")
        if self.used + tokens > self.cap:
            return False
        self.used += tokens
        return True

    async def settle(self, day: str, difference: int) -> None:
        self.used += difference


def completion(text: str, tokens: int | None) -> web.Response:
    usage = {} if tokens is None else {"usage": {"total_tokens": tokens, "prompt_tokens": 1}}
    body = {"id": "1", "model": "small-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    return web.json_response({**body, **usage})


@pytest.fixture
async def endpoint() -> AsyncIterator[tuple[Endpoint, str]]:
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.serve)
    async with TestServer(app) as server:
        yield endpoint, str(server.make_url("/v1/"))
        if endpoint.hold:
            endpoint.hold.set()


@pytest.fixture
def allowance() -> Allowance:
    return Allowance()


@pytest.fixture
async def llm(endpoint: tuple[Endpoint, str], allowance: Allowance) -> AsyncIterator[Llm]:
    given = Settings(llm_url=endpoint[1], llm_key=KEY, llm_model="small", llm_timeout=5.0)
    client = Llm(given, allowance, lambda: DAY)
    yield client
    await client.close()


async def test_a_text_is_written_and_costs_what_the_endpoint_says(
    llm: Llm, endpoint: tuple[Endpoint, str], allowance: Allowance
) -> None:
    written = await llm.write("be brief", "门票多少钱")
    assert written is not None
    assert (written.text, written.model, written.tokens) == ("您好，成人票 200 元。", "small-1", 120)
    ((body, authorization),) = endpoint[0].calls
    assert authorization == f"Bearer {KEY}"
    assert body["model"] == "small"
    assert body["max_tokens"] == MAX_ANSWER_TOKENS
    assert [message["content"] for message in body["messages"]] == ["be brief", "门票多少钱"]
    assert allowance.used == 120


async def test_an_endpoint_that_is_too_slow_is_given_up_and_counts_in_full(
    endpoint: tuple[Endpoint, str], allowance: Allowance
) -> None:
    endpoint[0].hold = asyncio.Event()
    client = Llm(Settings(llm_url=endpoint[1], llm_model="small", llm_timeout=0.2), allowance)
    assert await client.write("s", "u") is None
    assert allowance.used > MAX_ANSWER_TOKENS  # it may be billed: nobody knows
    await client.close()


@pytest.mark.parametrize(
    ("response", "costs"),
    [
        (lambda: web.json_response({"error": "slow down"}, status=429), False),
        (lambda: web.json_response({"error": "bad key"}, status=401), False),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), False),
        (lambda: web.Response(status=502), True),
        (lambda: web.Response(text="<html>"), True),
        (lambda: web.json_response({"choices": "none"}), True),
        (lambda: web.json_response({"choices": []}), True),
        (lambda: web.Response(body=b"\xff\xfe{"), True),
        (lambda: completion("长" * 100_000, 5), True),
        (lambda: completion("  ", None), True),
    ],
)
async def test_what_is_no_answer_gives_no_draft_and_no_error(
    llm: Llm,
    endpoint: tuple[Endpoint, str],
    allowance: Allowance,
    response: Callable[[], web.Response],
    costs: bool,
) -> None:
    endpoint[0].answer = response
    assert await llm.write("s", "u") is None
    assert (allowance.used > 0) is costs


async def test_nobody_at_the_address_costs_nothing(allowance: Allowance, unused_tcp_port_factory: Any) -> None:
    client = Llm(
        Settings(llm_url=f"http://127.0.0.1:{unused_tcp_port_factory()}/v1", llm_model="small"), allowance, lambda: DAY
    )
    assert await client.write("s", "u") is None
    assert allowance.used == 0
    await client.close()


async def test_with_the_day_used_up_nothing_is_asked_and_it_is_said_once(
    llm: Llm, endpoint: tuple[Endpoint, str], allowance: Allowance, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("chassis.llm.log", type("Log", (), {"warning": lambda _, text, **__: said.append(text)})())
    allowance.cap = 10
    assert await llm.write("s", "u") is None
    assert await llm.write("s", "u") is None
    assert endpoint[0].calls == []
    assert len(said) == 1


async def test_what_cannot_be_counted_is_not_spent(
    llm: Llm, endpoint: tuple[Endpoint, str], allowance: Allowance
) -> None:
    allowance.away = True
    assert await llm.write("s", "u") is None
    assert endpoint[0].calls == []


async def test_a_call_has_a_cap_of_its_own(llm: Llm, endpoint: tuple[Endpoint, str]) -> None:
    await llm.write("s" * 100, "问" * 10_000)
    ((body, _),) = endpoint[0].calls
    assert sum(len(message["content"].encode()) for message in body["messages"]) <= 8000


def test_the_settings_say_what_is_missing_and_never_show_the_key() -> None:
    with pytest.raises(SettingsError, match="WEIR_LLM_MODEL"):
        Settings(llm_url="https://example.org/v1")
    with pytest.raises(SettingsError, match="WEIR_LLM_URL"):
        Settings(llm_url="example.org", llm_model="small")
    assert KEY not in str(Settings(llm_url="https://example.org/v1", llm_model="small", llm_key=KEY).redacted())
