"""Several answers in a row: the courier sends each when the one before it is over, each once."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from contracts.content import Text
from contracts.envelope import data_as, raw
from contracts.facts import Because, Part, Send, Window
from tests.integration.courier_stage import courier, send, stage


async def test_parts_arrive_in_order_and_once_and_each_says_why(
    tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str
) -> None:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as standing, courier(standing):
        openids = await standing.sandbox.writing(8)
        commands = []
        for openid in openids:
            parts = tuple(Part(Text(f"part {n}"), Because(rule=f"rule {n}", rules_version="7")) for n in (1, 2, 3))
            first = Send(Text("part 0"), Because(rule="rule 0"), Window("message", datetime.now(UTC)), more=parts)
            commands.append(msgspec.structs.replace(send(openid, f"{openid}|1#r0"), data=raw(first)))
        await standing.order("reply", *commands, *commands)  # the second time is a redelivery
        assert await standing.settled(32) == {"sent": 32}
        shown: dict[str, list[str]] = {openid: [] for openid in openids}
        for message in await standing.sandbox.inboxes():
            shown[message["openid"]].append(message["content"])
        assert list(shown.values()) == [[f"part {n}" for n in range(4)]] * 8
        await standing.told(32)
        because = {fact.id: data_as(fact, Send).because.rule for fact in standing.facts}
        assert because[f"{openids[0]}|1#r2!accepted"] == "rule 2"
        assert (await standing.row(f"{openids[0]}|1#r3"))["cause"] == commands[0].cause

        # A part that cannot be sent does not hold up the next one.
        (openid,) = await standing.sandbox.writing(1)
        because = Because(rule="hello")
        long = Send(Text("长" * 700), because, Window("message", datetime.now(UTC)), more=(Part(Text("短"), because),))
        await standing.order("reply", msgspec.structs.replace(send(openid, "x|1#r0"), data=raw(long)))
        assert await standing.settled(34) == {"failed": 1, "sent": 33}
        assert [message["content"] for message in await standing.sandbox.inbox(openid)] == ["短"]
