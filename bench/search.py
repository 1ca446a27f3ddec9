"""``python -m bench.search``: phrases over a million stored messages, by the index and by reading everything.

A MongoDB of its own is filled with synthetic Chinese messages whose words are as unequally common as in life, indexed,
and asked. The other column is what the search was before: a regular expression along the index on (account, at).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

from chassis.mongo import connect
from services.history.index import Index
from services.history.query import Query
from services.history.reading import Reading
from services.history.searching import Search
from services.history.store import ACCOUNT_INDEX, Store
from weir.local.mongo import MongoServer

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BATCH = 5000
VOCABULARY = 20_000
PHRASES = (
    ("rare, 8 characters", "龙井山庄退订凭证"),
    ("rare, 2 characters", "龘龗"),
    ("common, 2 characters", ""),
    ("common, 1 character", ""),
    ("absent, 2 characters", "鱻麤"),
    ("absent, 8 characters, of common pairs", ""),
)
RARE = 20
"""Messages that hold a rare phrase."""


def words(luck: random.Random) -> tuple[list[str], list[float]]:
    """Words of one to four characters, and how common each is (Zipf)."""
    common = [chr(0x4E00 + n) for n in range(3500)]
    made = ["".join(luck.choices(common, k=luck.choice((1, 2, 2, 2, 3, 4)))) for _ in range(VOCABULARY)]
    return made, list(accumulate(1 / (n + 10) for n in range(VOCABULARY)))


def _main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many are stored (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="searches for each phrase (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args(argv)
    result = asyncio.run(_run(given.messages, given.rounds))
    print(json.dumps(result, ensure_ascii=False, indent=2) if given.json else _table(result))
    return 0


async def _run(messages: int, rounds: int) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="weir-bench-"))
    server = MongoServer(directory)
    await server.start()
    try:
        client, database = connect(server.url, "bench", name="bench")
        store = Store(database)
        index = Index(store, lambda: NOW + timedelta(hours=1))
        await store.prepare()
        await index.prepare()
        phrases = await _fill(store, messages)
        built = await _build(index)
        sizes = {
            name: int((await database.command("collStats", collection))["storageSize"])
            for name, collection in (("messages", "messages"), ("index", "search_index"))
        }
        reading = Reading(store, Search(store, index))
        rows = [await _measure(store, reading, what, phrase, rounds) for what, phrase in phrases]
        client.close()
    finally:
        await server.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return {"messages": messages, "build_seconds": round(built, 1), "bytes": sizes, "phrases": rows}


async def _fill(store: Store, count: int) -> list[tuple[str, str]]:
    luck = random.Random(1)  # no secret
    vocabulary, weights = words(luck)
    rare = [phrase for _, phrase in PHRASES[:2]]
    marked = {place: rare[n % 2] for n, place in enumerate(luck.sample(range(count), 2 * RARE))}
    for begin in range(0, count, BATCH):
        documents = []
        for n in range(begin, min(begin + BATCH, count)):
            openid = f"oBENCH{n % 50_000:022d}"
            text = "".join(luck.choices(vocabulary, cum_weights=weights, k=luck.randint(2, 9))) + marked.get(n, "")
            documents.append(
                {
                    "_id": f"demo|{openid}|{23_000_000_000 + n}",
                    "account": "demo",
                    "openid": openid,
                    "direction": "out" if n % 2 else "in",
                    "kind": "text",
                    "at": NOW - timedelta(milliseconds=100 * (count - n)),
                    "text": text,
                }
            )
        await store.messages.insert_many(documents, ordered=False)
    mixed = "".join(vocabulary[n] for n in range(8))[:8]
    fitting = {
        "common, 2 characters": next(word for word in vocabulary if len(word) == 2),
        "common, 1 character": next(word for word in vocabulary if len(word) == 1),
        "absent, 8 characters, of common pairs": mixed,
    }
    return [(what, phrase or fitting[what]) for what, phrase in PHRASES]


async def _build(index: Index) -> float:
    began = time.perf_counter()
    while await index.step():
        pass
    return time.perf_counter() - began


async def _measure(store: Store, reading: Reading, what: str, phrase: str, rounds: int) -> dict[str, Any]:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        page, _ = await reading.newest(Query(account="demo", text=phrase))
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    wanted = {"account": "demo", "text": {"$regex": re.escape(phrase), "$options": "i"}}
    cursor = store.messages.find(wanted, hint=ACCOUNT_INDEX).sort([("at", -1), ("_id", -1)]).limit(51)
    try:
        scanned = [one["_id"] for one in await cursor.to_list(51)]
        scan = round((time.perf_counter() - began) * 1000, 1)
        same: object = scanned[:50] == [one["_id"] for one in page]
    except Exception as error:  # it takes longer than any answer of the database may
        scan, same = None, f"the scan failed: {type(error).__name__}"
    times.sort()
    return {
        "what": what,
        "phrase": phrase,
        "found": len(page),
        "p50_ms": round(times[len(times) // 2] * 1000, 1),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))] * 1000, 1),
        "scan_ms": scan,
        "same_as_scan": same,
    }


def _table(result: dict[str, Any]) -> str:
    sizes = result["bytes"]
    stored = f"{result['messages']:,} messages ({sizes['messages'] / 1e6:.0f} MB)"
    lines = [
        f"{stored}; index built in {result['build_seconds']} s, {sizes['index'] / 1e6:.0f} MB",
        f"{'phrase':<40}{'found':>6}{'p50 ms':>9}{'p99 ms':>9}{'scan ms':>9}  same",
    ]
    for row in result["phrases"]:
        scan = "-" if row["scan_ms"] is None else row["scan_ms"]
        lines.append(
            f"{row['what']:<40}{row['found']:>6}{row['p50_ms']:>9}{row['p99_ms']:>9}{scan:>9}  {row['same_as_scan']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(_main())
