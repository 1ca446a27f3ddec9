"""``weir redrive``: look at dead letters, and send them round again."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from chassis import logs
from chassis.amqp import Bus, Delivery, Subscription
from contracts import topology
from contracts.envelope import decode_lenient, encode, join
from weir.reach import NotReachable, connections

BROKERS_LIMIT = "delivery_limit"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weir redrive",
        description="Dead letters: events that could not be handled. Without --yes this only shows what would be sent "
        "round again. Ids are kept, so what was already done is not done twice.",
    )
    parser.add_argument("queue", nargs="?", help=f"one of: {', '.join(topology.BY_NAME)}; without it, counts of all")
    parser.add_argument("--yes", action="store_true", help="send them round again")
    parser.add_argument("--reason", help="only those that died of this reason")
    parser.add_argument("--limit", type=_whole, default=0, help="at most so many messages (0: all)")
    parser.add_argument("--rate", type=_rate, default=200.0, help="messages a second at most")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: messages a second, more than 0")
    return rate


async def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    if given.queue and given.queue not in topology.BY_NAME:
        print(f"weir redrive: there is no queue {given.queue!r}; one of {', '.join(topology.BY_NAME)}", file=sys.stderr)
        return 2
    logs.configure("weir", log_format="console", level="error")
    async with _bus(connections()["amqp_url"]) as bus:
        if not given.queue:
            return await _counts(bus, as_json=given.json)
        return await _redrive(bus, given)


@asynccontextmanager
async def _bus(url: str) -> AsyncIterator[Bus]:
    bus = Bus(url, "weir.redrive")
    # A queue of our own: fetching needs a channel, and this one delivers nothing.
    bus.subscribe(Subscription("", 1, _ignore, exclusive=True))
    await bus.start()
    try:
        try:
            await asyncio.wait_for(bus.wait_ready(), 10)
        except TimeoutError:
            raise NotReachable("RabbitMQ does not answer: is Weir running?") from None
        yield bus
    finally:
        await bus.close()


async def _ignore(_delivery: Delivery) -> None:
    return


async def _counts(bus: Bus, *, as_json: bool) -> int:
    counts = {name: await bus.ready_messages(topology.dead(name)) for name in topology.BY_NAME}
    if as_json:
        print(json.dumps(counts))
        return 0
    for name, count in counts.items():
        print(f"{name:<20} {count:>8} dead")
    return 0


async def _redrive(bus: Bus, given: argparse.Namespace) -> int:
    """Take each dead letter once: to the queue again (confirmed, then acked), or left where it is."""
    queue: str = given.queue
    total = await bus.ready_messages(topology.dead(queue))
    chosen = sent = 0
    for _ in range(total):
        if given.limit and chosen >= given.limit:
            break
        delivery = await bus.fetch(topology.dead(queue))
        if delivery is None:
            break
        fits = not given.reason or _reason(delivery) == given.reason
        chosen += fits
        _show(delivery, as_json=given.json, chosen=fits)
        if not (fits and given.yes):
            continue  # unacked: it returns to the dead letters when this connection closes
        await bus.publish("", queue, _fresh(delivery.body), within=5.0)
        await delivery.ack()
        sent += 1
        if sent % 100 == 0 and sys.stderr.isatty():
            print(f"{sent} of {total}", file=sys.stderr)
        await asyncio.sleep(1 / given.rate)
    if not given.json:
        print(f"{sent} sent round again, {total - sent} left" + ("" if given.yes else "; add --yes to send them"))
    return 0


def _reason(delivery: Delivery) -> str:
    """Why it died; without a word of ours the broker gave it up."""
    return str(delivery.headers.get("weir-reason", BROKERS_LIMIT))


def _fresh(body: bytes) -> bytes:
    """The events with their failures forgotten: they start at the first rung. Nobody waits for their answer now."""
    events, bad = decode_lenient(body)
    fresh = [encode(msgspec.structs.replace(e, attempt=0, firstfailed="", replyto="", deadline=None)) for e in events]
    return join(fresh + [item for item, _ in bad])


def _show(delivery: Delivery, *, as_json: bool, chosen: bool) -> None:
    events, _ = decode_lenient(delivery.body)
    row: dict[str, Any] = {
        "reason": _reason(delivery),
        "message": delivery.headers.get("weir-message", ""),
        "handler": delivery.headers.get("weir-handler", ""),
        "attempts": delivery.headers.get("weir-attempts", 0),
        "first_seen": delivery.headers.get("weir-first-seen", ""),
        "events": [{"type": event.type, "account": event.account} for event in events],
        "chosen": chosen,
    }
    if as_json:
        row["traceback"] = delivery.headers.get("weir-traceback", "")
        row["ids"] = [event.id for event in events]
        print(json.dumps(row, default=str, ensure_ascii=False))
    else:
        kinds = ", ".join(event.type for event in events) or "not readable"
        print(f"{row['first_seen']}  {row['reason']:<20} {kinds}  ({row['attempts']} attempts) {row['message']}")
