"""The end of a run, and the next one on the same directory. Last of all: it stops the Weir that the others use."""

import signal

import pytest
from running import RunningWeir
from wechat import Client

pytestmark = pytest.mark.timeout(240)

ACCOUNT = ("--appid", "wx0123456789abcdef", "--secret", "0" * 32, "--original-id", "gh_kept00001", "--mode", "plain")


async def test_sigterm_ends_everything_and_a_start_finds_everything(weir: RunningWeir, client: Client) -> None:
    openid = await client.follower()
    await client.say(openid, "你好")
    before = await client.stored(openid, 2)
    status, _, err = await weir.command("accounts", "add", "kept", *ACCOUNT)
    assert status == 0, err
    rules = weir.home / "rules" / "demo.yaml"
    kept = rules.read_text(encoding="utf-8") + "# the user's own line\n"
    rules.write_text(kept, encoding="utf-8")
    ports, token = {name: child["port"] for name, child in weir.children().items()}, weir.admin_token
    status, _, err = await weir.command("up", "--data-dir", str(weir.home), "--port", "1")
    assert status == 1
    assert "already runs" in err

    assert weir.stop() < 15
    assert weir.returncode == 0
    assert await weir.gone() == []
    assert not (weir.home / "run.json").exists()
    assert weir.journal() == 0

    weir.start()
    assert weir.admin_token == token
    assert token not in weir.console.read_text()  # shown once, on the first run
    assert {name: child["port"] for name, child in weir.children().items()} == ports
    assert rules.read_text(encoding="utf-8") == kept
    status, out, err = await weir.command("accounts", "list")
    assert status == 0, err
    assert {"demo", "kept"} <= set(out.split())
    assert await client.messages(openid) == before
    # The sandbox remembers the follower too, and the conversation goes on.
    assert len(await client.inbox(openid)) == 1
    assert (await client.say(openid, "停车"))["answer"] == "passive"
    assert len(await client.stored(openid, 4)) == 4
    follower = await client.api(f"followers/demo/{openid}")
    assert follower["messages_in"] == 2


async def test_two_sigterms_end_it_at_once(weir: RunningWeir) -> None:
    weir.signal("history", signal.SIGSTOP)  # one that would not end in good order
    pid = weir.children()["edge"]["pid"]
    assert pid
    assert weir.stop(again=True) < 8
    assert await weir.gone() == []
