"""Incidents and their recipients as the API takes and shows them. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from contracts.content import Content
from services.history import shown
from services.history.documents import Document

CSV = (
    "openid", "received", "messages", "first_at", "last_at", "state", "reason", "road", "left", "road_reason", "text"
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Name = Annotated[str, msgspec.Meta(max_length=600)]


class OpenIncident(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Which answer was wrong: ``account``, ``rule`` and a window of time, or one ``message`` that it was given with."""

    account: Name = ""
    rule: Name = ""
    rules_version: Name = ""
    """Empty: every version."""
    message: Name = ""
    start: Annotated[str, msgspec.Meta(max_length=40)] = msgspec.field(name="from", default="")
    end: Annotated[str, msgspec.Meta(max_length=40)] = msgspec.field(name="to", default="")


class Correct(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What to send. ``include_unknown``: also to those of whom it is not known whether the wrong answer arrived."""

    content: Content
    include_unknown: bool = False


class IncidentsQuery(msgspec.Struct, forbid_unknown_fields=True):
    account: Name = ""


class RecipientsQuery(msgspec.Struct, forbid_unknown_fields=True):
    state: Name = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    cursor: Name = ""


class IncidentExportQuery(msgspec.Struct, forbid_unknown_fields=True):
    format: Name = "jsonl"


class Progress(msgspec.Struct):
    """Followers by state; total is the sum of all the others at every moment."""

    total: int
    pending: int
    released: int
    sent: int
    failed: int
    unknown: int
    skipped: int


class RoadCounts(msgspec.Struct):
    custom: int
    mass: int
    none: int


class Incident(msgspec.Struct, omit_defaults=True):
    id: str
    account: str
    rule: str
    rules_version: str
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    by: str
    opened: str
    phase: str
    message: str = ""
    content: dict[str, Any] = {}
    corrected_by: str = ""
    include_unknown: bool = False
    found: str = ""
    started: str = ""
    finished: str = ""
    recipients: Progress | None = None
    roads: RoadCounts | None = None
    received: int = 0
    received_unknown: int = 0
    messages: int = 0


class IncidentPage(msgspec.Struct):
    incidents: list[Incident]


class GotAnswer(msgspec.Struct, omit_defaults=True):
    id: str
    at: str
    status: str
    text: str
    content: dict[str, Any] = {}


class Recipient(msgspec.Struct, omit_defaults=True):
    openid: str
    received: str
    got: list[GotAnswer]
    state: str
    road: str
    left: int
    road_reason: str
    reason: str = ""
    released: str = ""
    settled: str = ""
    erased: bool = False


class RecipientPage(msgspec.Struct):
    recipients: list[Recipient]
    next: str | None


def csv_lines(rows: Iterable[Iterable[str]]) -> bytes:
    """Rows as CSV. A cell that a spreadsheet would take for a formula starts with an apostrophe."""
    text = io.StringIO()
    safe = ([f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell for cell in row] for row in rows)
    csv.writer(text).writerows(safe)
    return text.getvalue().encode("utf-8", "replace")


def incident(document: Document) -> Document:
    names = ("account", "rule", "rules_version", "by", "phase", "message", "content", "corrected_by", "include_unknown")
    row = {"id": document["_id"], **{name: document[name] for name in names if name in document}}
    times = ("from", "to", "opened", "found", "started", "finished")
    return {**row, **{name: shown.stamp(document[name]) for name in times if document.get(name)}}


def recipient(one: Document) -> Document:
    got = {f"{each['id']} {each['at']}": each for each in sorted(one["got"], key=lambda each: each["status"] == "sent")}
    told = sorted(got.values(), key=lambda each: (each["at"], each["id"]))
    row: Document = {
        "openid": one["openid"],
        "received": "sent" if any(each["status"] == "sent" for each in told) else "unknown",
        "got": [{**each, "at": shown.stamp(each["at"])} for each in told],
        "state": one["state"],
        "road": one.get("road", "none"),
        "left": one.get("left", 0),
        "road_reason": one.get("road_reason", ""),
    }
    row |= {name: one[name] for name in ("reason", "erased") if one.get(name)}
    return row | {name: shown.stamp(one[name]) for name in ("released", "settled") if one.get(name)}


def row(one: Document) -> list[str]:
    got = one["got"]
    values = {**one, "messages": len(got), "text": "\n".join(dict.fromkeys(each["text"] for each in got))}
    if got:
        values |= {"first_at": got[0]["at"], "last_at": got[-1]["at"]}
    return [str(values.get(name, "")) for name in CSV]
