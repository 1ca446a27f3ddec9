"""`python -m sandbox` as a process: start, refusals, the state file, and a quick end."""

import asyncio
import contextlib
import json
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from boxes import CONFIG

ACCOUNTS = {"demo": {**CONFIG, "url": "http://127.0.0.1:1/hook"}}


async def run(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--port", "0", *arguments, stdout=PIPE, stderr=PIPE
    )


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """A sandbox that has said it is ready, and its address; killed in the end if it still lives."""
    process = await run(*arguments)
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("sandbox ready: http://127.0.0.1:"), line
        yield process, line.split()[-1].removesuffix("/sandbox/")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(method: str, url: str, body: Any = None) -> Any:
    async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as response:
        return await response.json()


async def test_sigterm_ends_it_within_two_seconds_whatever_is_under_way(tmp_path: Path) -> None:
    async with running() as (process, url):
        await ask("PUT", f"{url}/sandbox/accounts/demo", ACCOUNTS["demo"])
        openid = (await ask("POST", f"{url}/sandbox/accounts/demo/followers"))["openid"]
        async with aiohttp.ClientSession() as http:
            poll = asyncio.create_task(http.get(f"{url}/sandbox/followers/{openid}/inbox", params={"wait": "25"}))
            text = {"type": "text", "content": "a"}
            messages = f"{url}/sandbox/followers/{openid}/messages"
            await http.post(messages, params={"wait": "0"}, json=text)
            held = asyncio.create_task(http.post(messages, json=text))  # waits for three tries, a second apart
            while len((await ask("GET", f"{url}/sandbox/followers/{openid}/timeline?after=1&wait=5"))["messages"]) < 1:
                assert not held.done()
            loop = asyncio.get_running_loop()
            began = loop.time()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
            assert loop.time() - began < 2
            await asyncio.gather(poll, held, return_exceptions=True)


async def test_the_state_file_carries_everything_over_a_restart(tmp_path: Path) -> None:
    state, accounts = tmp_path / "state.json", tmp_path / "accounts.json"
    accounts.write_text(json.dumps(ACCOUNTS))
    login = f"grant_type=client_credential&appid={CONFIG['appid']}&secret={CONFIG['secret']}"
    async with running("--state", str(state), "--accounts", str(accounts)) as (process, url):
        openid = (await ask("POST", f"{url}/sandbox/accounts/demo/followers", {"nickname": "小明"}))["openid"]
        sent = await ask("POST", f"{url}/sandbox/followers/{openid}/messages", {"type": "text", "content": "在吗"})
        await ask("POST", f"{url}/sandbox/clock", {"advance": 100})
        token = (await ask("GET", f"{url}/cgi-bin/token?{login}"))["access_token"]
        before = await ask("GET", f"{url}/sandbox/followers/{openid}/timeline")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    async with running("--state", str(state)) as (process, url):
        assert await ask("GET", f"{url}/sandbox/followers/{openid}/timeline") == before
        follower = await ask("GET", f"{url}/sandbox/followers/{openid}")
        assert (follower["nickname"], follower["windows"]["message"]["left"]) == ("小明", 5)
        assert (await ask("GET", f"{url}/sandbox/clock"))["advanced"] == 100
        body = {"touser": openid, "msgtype": "text", "text": {"content": "在"}}
        answer = await ask("POST", f"{url}/cgi-bin/message/custom/send?access_token={token}", body)
        assert answer["errcode"] == 0
        again = await ask("POST", f"{url}/sandbox/followers/{openid}/messages", {"type": "text", "content": "在吗"})
        assert again["msgid"] > sent["msgid"]


async def test_a_killed_sandbox_has_saved_what_is_older_than_a_few_seconds(tmp_path: Path) -> None:
    state, accounts = tmp_path / "state.json", tmp_path / "accounts.json"
    accounts.write_text(json.dumps(ACCOUNTS))
    async with running("--state", str(state), "--accounts", str(accounts)) as (process, _):
        async with asyncio.timeout(10):
            while not state.exists():
                await asyncio.sleep(0.05)
        process.kill()
    async with running("--state", str(state)) as (_, url):
        assert (await ask("GET", f"{url}/sandbox/accounts/demo"))["account"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--i-know-this-is-public"),
        (["--host", "example.invalid"], "--i-know-this-is-public"),
        (["--accounts", "{tmp}/missing.json"], "missing.json"),
        (["--accounts", "{tmp}/broken.json"], "broken.json"),
        (["--accounts", "{tmp}/wrong.json"], "token"),
        (["--state", "{tmp}/broken.json"], "broken.json"),
        (["--state", "{tmp}/bytes.json"], "bytes.json"),
        (["--accounts", "{tmp}/bytes.json"], "bytes.json"),
    ],
)
async def test_it_refuses_to_start_and_says_why(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "bytes.json").write_bytes(b'{"\x80": 1}')
    (tmp_path / "wrong.json").write_text(json.dumps({"demo": {**ACCOUNTS["demo"], "token": "-"}}))
    process = await run(*(argument.format(tmp=tmp_path) for argument in arguments))
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_a_port_that_is_taken() -> None:
    async with running() as (_, url):
        process = await run("--port", url.rsplit(":", 1)[1])
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
    assert process.returncode == 2
    assert "cannot listen" in errors.decode()


async def test_json_logs_hold_no_secret_and_no_openid(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text(json.dumps(ACCOUNTS))
    async with running("--json-log", "--accounts", str(accounts)) as (process, url):
        openid = (await ask("POST", f"{url}/sandbox/accounts/demo/followers"))["openid"]
        await ask("PUT", f"{url}/sandbox/faults", {"mark_fail": True})
        # Messages to a server that is not there fail three times, a second apart, all at the same time.
        await ask(
            "POST", f"{url}/sandbox/followers/{openid}/messages", {"type": "text", "content": "秘密", "count": 10}
        )
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert {"stopping"} < {line["event"] for line in lines}
    for word in (openid, CONFIG["secret"], CONFIG["aes_key"], "秘密"):
        assert word not in errors.decode()
