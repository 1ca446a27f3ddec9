"""``python -m bench.replay``: how fast a draft is replayed over stored history, reading it from MongoDB included.

A private MongoDB, two hundred thousand stored messages of 20,000 followers, and two rule sets of 1,000 rules: one that
looks at the message alone, and one with a template that holds the time, so that each message is decided by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import servers
from bench.table import grid
from chassis.mongo import ASCENDING, connect
from services.autoreply.pastmessages import PastMessages
from services.autoreply.replays import Replays
from services.autoreply.rulefile import read
from services.autoreply.ruleset import RuleSet
from weir.local.mongo import MongoServer

MESSAGES, FOLLOWERS, RULES = 200_000, 20_000, 1_000


def rules(answer: str) -> RuleSet:
    def rule(name: str, text: str, content: str) -> str:
        return f"  - {{id: {name}, when: {{text: {text}}}, reply: {{type: text, content: '{content}'}}}}"

    lines = [rule(f"r{n}", f"{{exact: [词{n}], contains: [编号{n}号]}}", str(n)) for n in range(RULES - 1)]
    lines.append(rule("last", "{contains: [停车]}", answer))
    return read("version: 2\nrules:\n" + "\n".join(lines) + "\n")


async def fill(messages: Any, count: int) -> None:
    """A day's messages: 97 % contest entries and other things that are said again and again, the rest is unique."""
    dice = random.Random(3)
    now = datetime.now(UTC) - timedelta(days=1)
    await messages.create_index([("account", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)], name="account_at_id")
    for start in range(0, count, 5_000):
        page = []
        for number in range(start, min(start + 5_000, count)):
            openid = f"o{dice.randrange(FOLLOWERS):06d}"
            text = f"词{dice.randrange(RULES)}" if dice.random() < 0.97 else f"请问{number}停车怎么走"
            page.append(
                {
                    "_id": f"demo|{openid}|{number}",
                    "account": "demo",
                    "openid": openid,
                    "direction": "in",
                    "kind": "text",
                    "at": now + timedelta(milliseconds=400 * number),
                    "lane": "question",
                    "text": text,
                    "fields": {},
                }
            )
        await messages.insert_many(page, ordered=False)


async def run(count: int) -> dict[str, float]:
    servers.ROOT.joinpath(".cache").mkdir(exist_ok=True)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=servers.ROOT / ".cache") as home:
        server = MongoServer(Path(home) / "mongodb")
        await server.start()
        try:
            client, database = connect(server.url, "bench", name="bench")
            await fill(database["messages"], count)
            replays = Replays(PastMessages(database))
            before = rules("旧")
            for name, after in (("message alone", rules("新")), ("with the time", rules("{{ now.hour }} 点"))):
                lines = [line async for line in replays.run("demo", before, after, days=3, skip=0, limit=100)]
                done = lines[-1]["done"]
                assert done["read"] == count
                found[name] = done["read"] / done["seconds"]
            client.close()
        finally:
            await server.kill()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    found = asyncio.run(run(given.messages))
    if given.json:
        print(json.dumps({name: round(value) for name, value in found.items()}, indent=2))
        return 0
    rows = [[name, f"{value:,.0f}"] for name, value in found.items()]
    print(grid([f"{given.messages:,} stored messages, {RULES:,} rules", "messages/s (aim: 20,000)"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
