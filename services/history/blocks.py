"""What the search index is made of: blocks, their parts, and what of an account is in which. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from services.history import grams
from services.history.documents import Document
from services.history.query import Position

IDS = 128
"""Ids of messages in one document of a block."""
START = Position(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=365 * 200), "")
"""Before every message."""


class Block(NamedTuple):
    """A block of the index: the times of its first and last message are the bounds within which it is believed."""

    account: str
    number: int
    first: datetime
    last: datetime
    dirty: datetime | None
    """When it was told that messages in it are to be erased."""


class State(NamedTuple):
    """What of an account is in the index: all messages up to ``watermark`` but for those noted as late."""

    account: str
    watermark: Position
    blocks: list[Block]
    forgot: datetime | None
    """When the last erasure began."""
    drops: int | None
    """How often notes were dropped."""


def part(account: str, number: int, name: str) -> str:
    """The ``_id`` of a part of a block: a bucket of postings, or a stretch of its messages' ids."""
    return f"{account}|{number:08d}|{name}"


def posting(account: str, number: int, gram: str) -> str:
    return part(account, number, f"{grams.bucket(gram):03x}")


def ids(account: str, number: int, place: int) -> str:
    """The ``_id`` of the stretch that holds the message at a place; within it the message is ``place % IDS``."""
    return part(account, number, f"i{place // IDS:03x}")


def parts_of(account: str, number: int, found: list[Document]) -> list[Document]:
    made = [
        {"_id": part(account, number, f"{bucket:03x}"), "grams": packed}
        for bucket, packed in grams.postings([one["text"] for one in found]).items()
    ]
    for begin in range(0, len(found), IDS):
        names = [one["_id"] for one in found[begin : begin + IDS]]
        made.append({"_id": ids(account, number, begin), "ids": names})
    return sorted(made, key=lambda one: str(one["_id"]))


def state_of(account: str, found: Document) -> State:
    at, name = found.get("watermark") or START
    blocks = [
        Block(account, one["number"], one["first"], one["last"], one.get("dirty")) for one in found.get("blocks", ())
    ]
    return State(account, Position(at, name), blocks, found.get("forgot"), found.get("drops"))
