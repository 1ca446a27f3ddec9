"""One message, all the way: what a follower does, what their phone shows, what is stored, and why it was answered."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Registered, Registry, add_to_weir, new_key
from running import RunningWeir
from wechat import Client, until

HELLO = "你好！我是 Weir 演示号，很高兴见到你。试试发送“停车”，或者点一点下面的菜单。"
KINDS = ("text", "image", "voice", "video", "shortvideo", "location", "link", "file", "miniprogrampage")


async def test_the_first_message(weir: RunningWeir, client: Client) -> None:
    openid = await client.follower(nickname="小明")
    done = await client.say(openid, "你好")
    assert (done["answer"], done["tries"]) == ("passive", 1)
    assert done["took_ms"] < 1000
    (bubble,) = await client.inbox(openid)
    assert (bubble["via"], bubble["type"], bubble["content"]) == ("passive", "text", HELLO)
    assert bubble["msgid"] == done["msgid"]

    answer, message = await client.stored(openid, 2)
    assert (message["direction"], message["kind"], message["text"]) == ("in", "text", "你好")
    assert message["id"] == f"demo|{openid}|{done['msgid']}|{done['create_time']}"
    assert message["lane"] == "question"
    assert message["fields"]["MsgId"] == str(done["msgid"])  # as it came: XML knows texts only
    assert (answer["direction"], answer["text"], answer["via"], answer["status"]) == ("out", HELLO, "passive", "sent")
    assert answer["cause"] == message["id"]
    assert answer["because"]["rule"] == "hello"
    assert answer["because"]["rules_version"]

    one = await client.api(f"messages/{message['id'].replace('|', '%7C')}")
    assert [one["message"]["id"], *[given["id"] for given in one["answers"]]] == [message["id"], answer["id"]]

    follower = await client.api(f"followers/demo/{openid}")
    assert (follower["account"], follower["openid"], follower["erased"]) == ("demo", openid, False)
    assert (follower["messages_in"], follower["messages_out"]) == (1, 1)
    assert follower["first_seen"] == message["at"]


async def test_the_lines_of_export_are_the_stored_messages(weir: RunningWeir, client: Client, tmp_path: Path) -> None:
    openid = await client.follower()
    await client.say(openid, "停车场在哪里")
    newest_first = await client.stored(openid, 2)
    status, out, err = await weir.command("export", "--account", "demo")
    assert status == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line for line in lines if line["openid"] == openid] == newest_first[::-1]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    status, _, err = await weir.command("export", "--output", str(tmp_path / "all.jsonl"))
    assert status == 0, err
    assert set(out.splitlines()) <= set((tmp_path / "all.jsonl").read_text().splitlines())


async def test_what_else_followers_do(client: Client) -> None:
    openid = await client.follower(subscribe=False)
    welcome = await client.act(openid, type="event", event="subscribe", scene="poster")
    clicked = await client.click(openid, "HOURS")
    unheard = await client.act(openid, type="event", event="something_new", key="k", fields={"Depth": 3})
    located = await client.act(openid, type="event", event="LOCATION")
    nobody_knows = await client.say(openid, "一个规则不认识的句子")
    assert [done["answer"] for done in (welcome, clicked, unheard, located, nobody_knows)] == [
        *("passive", "passive", "success", "success", "passive")
    ]
    shown = await client.inbox(openid)
    assert [bubble["content"][:4] for bubble in shown] == ["欢迎关注", "营业时间", "已经收到"]
    assert {bubble["via"] for bubble in shown} == {"passive"}

    stored = await client.stored(openid, 8)
    by_kind = {message["kind"]: message for message in stored if message["direction"] == "in"}
    assert set(by_kind) == {"event.subscribe", "event.click", "event.something_new", "event.location", "text"}
    assert by_kind["event.subscribe"]["fields"]["Ticket"]
    assert by_kind["event.something_new"]["fields"]["Depth"] == "3"
    assert by_kind["event.location"]["lane"] == by_kind["event.something_new"]["lane"] == "signal"
    rules = {message["cause"]: message["because"]["rule"] for message in stored if message["direction"] == "out"}
    assert rules == {
        by_kind["event.subscribe"]["id"]: "welcome",
        by_kind["event.click"]["id"]: "menu-hours",
        by_kind["text"]["id"]: "default",
    }
    follower = await client.api(f"followers/demo/{openid}")
    assert (follower["subscribed"], follower["scene"]) == (True, "poster")


async def test_every_kind_of_message_is_taken_and_kept(client: Client) -> None:
    openid = await client.follower()
    for number, kind in enumerate(KINDS):
        done = await client.act(openid, **({"type": "text", "content": "句子"} if kind == "text" else {"type": kind}))
        # The default takes every message. Who waits for a person by now is told so once.
        assert done["answer"] == ("success" if number else "passive"), f"{kind}: {done}"
    stored = await client.stored(openid, len(KINDS) + 1)
    inbound = [message for message in stored if message["direction"] == "in"]
    assert sorted(message["kind"] for message in inbound) == sorted(KINDS)
    (acknowledged,) = [message for message in stored if message["direction"] == "out"]
    assert acknowledged["cause"] in {message["id"] for message in inbound}
    media = {message["kind"]: message["fields"] for message in inbound}
    assert media["image"]["MediaId"]
    assert media["file"]["FileKey"]
    assert float(media["location"]["Location_X"]) == 22.540503


async def test_silence_is_an_answer(client: Client, registry: Registry) -> None:
    await registry.add(client, "plain", "plain")  # its rules have no default
    openid = await client.follower("plain")
    done = await client.say(openid, "谁也不认识的句子")
    assert (done["answer"], done["tries"]) == ("success", 1)
    assert done["took_ms"] < 1000  # silence was decided, not waited for
    (message,) = await client.stored(openid, 1)
    assert message["direction"] == "in"
    assert await client.inbox(openid) == []


class TestRulesChange:
    """Rule files are read while Weir runs."""

    @pytest.fixture(autouse=True)
    def _as_it_was(self, weir: RunningWeir) -> Iterator[None]:
        path = weir.home / "rules" / "demo.yaml"
        before = path.read_text(encoding="utf-8")
        yield
        path.write_text(before, encoding="utf-8")

    async def test_the_next_answer_is_the_new_one(self, weir: RunningWeir, client: Client) -> None:
        path, openid = weir.home / "rules" / "demo.yaml", await client.follower()
        await self._answered_with(client, openid, HELLO, 3.0)
        path.write_text(path.read_text(encoding="utf-8").replace(HELLO, "新的问候"), encoding="utf-8")
        await self._answered_with(client, openid, "新的问候", 2.0)
        answers = await until(
            lambda: client.messages(openid, direction="out", limit="500"),
            lambda found: found[0]["text"] == "新的问候",  # the newest is stored, too
        )
        assert answers[-1]["text"] == HELLO
        assert answers[0]["because"]["rules_version"] != answers[-1]["because"]["rules_version"]

    async def test_a_bad_file_changes_nothing_and_says_why(self, weir: RunningWeir, client: Client) -> None:
        path, openid = weir.home / "rules" / "demo.yaml", await client.follower()
        good = path.read_text(encoding="utf-8")
        await self._answered_with(client, openid, HELLO, 3.0)
        bad = good.replace('when: {click: ["HOURS"]}', 'when: {clack: ["HOURS"]}')
        line = next(number for number, text in enumerate(bad.splitlines(), 1) if "clack" in text)
        path.write_text(bad, encoding="utf-8")
        refused = "weir_autoreply_rule_files_refused"
        await until(lambda: client.counted(refused, "autoreply"), lambda count: count == 1, 2.5)
        said = [text for text in weir.log("autoreply").splitlines() if "rule file refused" in text][-1]
        assert "demo.yaml" in said
        assert f"line {line}" in said
        assert "clack" in said
        await client.say(openid, "你好")
        await client.click(openid, "HOURS")
        assert [bubble["content"][:4] for bubble in (await client.inbox(openid))[-2:]] == [HELLO[:4], "营业时间"]
        path.write_text(good.replace(HELLO, "又好了"), encoding="utf-8")
        await self._answered_with(client, openid, "又好了", 2.0)
        assert await client.counted(refused, "autoreply") == 0

    async def _answered_with(self, client: Client, openid: str, words: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            asked = time.monotonic()
            await client.say(openid, "你好")
            if (await client.inbox(openid))[-1]["content"] == words:
                return
            await asyncio.sleep(0.05)
            assert asked < deadline, f"the answer is still the old one after {seconds} s"


@pytest.mark.parametrize("push_format", ["xml", "json"])
async def test_three_modes_beside_each_other(client: Client, registry: Registry, push_format: str) -> None:
    accounts = [await registry.add(client, mode, mode) for mode in ("plain", "compatible", "safe")]
    for account in accounts:
        await client.control("PUT", f"accounts/{account.name}", {"format": push_format})
        openid = await client.follower(account.name)
        said, clicked = await client.say(openid, "你好"), await client.click(openid, "HOURS")
        assert (said["answer"], clicked["answer"]) == ("passive", "passive"), account.name
        shown = [bubble["content"] for bubble in await client.inbox(openid)]
        assert shown == [f"你好，这里是{account.name}", "九点到九点"]
        stored = await client.stored(openid, 4)
        assert {message["account"] for message in stored} == {account.name}
        msgids = [message["fields"]["MsgId"] for message in stored if message["kind"] == "text" and "fields" in message]
        assert msgids == [said["msgid"] if push_format == "json" else str(said["msgid"])]


async def test_the_previous_key_is_good_while_a_new_one_settles(
    weir: RunningWeir, client: Client, registry: Registry
) -> None:
    account: Registered = await registry.add(client, "safe", "safe")
    openid, fresh = await client.follower("safe"), new_key()
    await add_to_weir(weir, account, key=fresh, previous=account.aes_key)

    async def accepted() -> str:
        answer: str = (await client.say(openid, "你好"))["answer"]
        return answer

    assert await accepted() == "passive"  # the platform still uses the old key
    await client.control("PUT", "accounts/safe", {"aes_key": fresh})
    # Weir reads its accounts every 2 s; from then on the new key opens, too.
    await until(accepted, lambda answer: answer == "passive", 8)
    await client.control("PUT", "accounts/safe", {"aes_key": account.aes_key})
    assert await accepted() == "passive"
    await add_to_weir(weir, account)


async def test_nothing_is_dead(weir: RunningWeir, client: Client) -> None:
    status, out, err = await weir.command("redrive", "--json")
    assert status == 0, err
    counts = json.loads(out)
    assert set(counts) >= {"autoreply.question", "autoreply.entry", "history", "courier.reply"}
    assert set(counts.values()) == {0}


async def test_the_demo_account_is_listed_and_in_order(weir: RunningWeir) -> None:
    status, out, err = await weir.command("accounts", "list", "--json")
    assert status == 0, err
    shown = {row["name"]: row for row in json.loads(out)}
    assert shown["demo"]["appid"] == weir.demo["appid"]
    assert weir.demo["secret"] not in out
    assert weir.demo["aes_key"] not in out
    status, out, err = await weir.command("accounts", "check", "demo", "--url", f"{weir.address}/wechat/demo", "--json")
    assert status == 0, out + err
    assert all(finding["ok"] for finding in json.loads(out))
