"""One running Weir for all end-to-end tests, and clients of it. When a test fails, the end of every log is shown."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from running import RunningWeir
from wechat import Client, until

_WEIR = pytest.StashKey[RunningWeir]()

RULES = """\
version: 1
rules:
  - id: hello
    when: {text: {exact: ["你好"]}}
    reply: {type: text, content: "你好，这里是%s"}
  - id: hours
    when: {click: ["HOURS"]}
    reply: {type: text, content: "九点到九点"}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "weir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def weir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RunningWeir]:
    """`weir up`, started once; the last test module stops it."""
    running = RunningWeir(tmp_path_factory.mktemp("weir") / "home")
    request.config.stash[_WEIR] = running
    try:
        running.start()
        yield running
    finally:
        running.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    running = item.config.stash.get(_WEIR, None)
    if report.failed and running and "weir" in getattr(item, "fixturenames", ()):
        report.sections.append(("logs of the running Weir", running.tails()))
    return report


@pytest.fixture
async def client(weir: RunningWeir) -> AsyncIterator[Client]:
    """A client for one test; the sandbox's faults end with the test."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as http:
        made = Client(weir, http, weir.url("sandbox"))
        yield made
        if weir.alive:
            await made.control("DELETE", "faults")


@dataclass(frozen=True)
class Registered:
    """An account known to Weir and to the sandbox, with what a test needs to speak for it."""

    name: str
    token: str
    appid: str
    secret: str
    aes_key: str
    mode: str


class Registry:
    """Adds accounts as an operator does: the command on Weir's side, the console on the platform's."""

    def __init__(self, weir: RunningWeir) -> None:
        self._weir = weir
        self._known: dict[str, Registered] = {}

    def all(self) -> list[Registered]:
        return list(self._known.values())

    async def add(self, client: Client, name: str, mode: str, push_format: str = "xml") -> Registered:
        """The account, with rules of its own; it is made when the first test asks for it."""
        if name not in self._known:
            self._known[name] = await self._make(client, name, mode, push_format)
        return self._known[name]

    async def _make(self, client: Client, name: str, mode: str, push_format: str) -> Registered:
        made = Registered(
            name, secrets.token_hex(12), "wx" + secrets.token_hex(8), secrets.token_hex(16), new_key(), mode
        )
        (self._weir.home / "rules" / f"{name}.yaml").write_text(RULES % name, encoding="utf-8")
        body = {
            "appid": made.appid,
            "secret": made.secret,
            "original_id": original_id(name),
            "token": made.token,
            "aes_key": made.aes_key,
            "mode": mode,
            "format": push_format,
            "url": f"{self._weir.address}/wechat/{name}",
        }
        await client.control("PUT", f"accounts/{name}", body)
        await add_to_weir(self._weir, made)
        url = f"accounts/{name}/verify"
        await until(lambda: client.control("POST", url), lambda verdict: bool(verdict["ok"]), 10)
        return made


async def add_to_weir(weir: RunningWeir, account: Registered, *, previous: str = "", key: str = "") -> None:
    """`weir accounts add`, with another key if given."""
    arguments = ["--appid", account.appid, "--secret", account.secret, "--original-id", original_id(account.name)]
    arguments += ["--token", account.token, "--mode", account.mode, "--api-base", weir.url("sandbox")]
    arguments += ["--aes-key", key or account.aes_key, "--sends-per-second", "1000"]
    arguments += ["--previous-aes-key", previous] if previous else []
    status, out, err = await weir.command("accounts", "add", account.name, *arguments)
    assert status == 0, err
    assert account.secret not in out + err
    assert f"account {account.name} is in force" in out


@pytest.fixture(scope="session")
def registry(weir: RunningWeir) -> Registry:
    return Registry(weir)


def original_id(name: str) -> str:
    return "gh_" + name.ljust(12, "0")


def new_key() -> str:
    """An EncodingAESKey."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    # The last character of 43 carries two bits that must be zero for strict decoders.
    return "".join(secrets.choice(alphabet) for _ in range(42)) + secrets.choice("AEIMQUYcgkosw048")
