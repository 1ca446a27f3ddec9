"""What a caller of the API may ask for, checked: every error names the parameter and what it should be. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
MAX_TEXT = 64
MAX_NAME = 600

_LIST = ("account", "openid", "from", "to", "direction", "kind", "text", "limit", "cursor")
_EXPORT = ("account", "from", "to", "after")
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_EPOCH = re.compile(r"\d{1,11}(\.\d{1,9})?\Z")
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class BadParameter(Exception):
    """A parameter is wrong; the text names it and what it should be."""


class Position(NamedTuple):
    """A place in the order of all messages: by time, and by id within a millisecond."""

    at: datetime
    id: str


class Query(NamedTuple):
    """Which messages. ``start`` is included, ``end`` is not; empty and None mean any."""

    account: str = ""
    openid: str = ""
    start: datetime | None = None
    end: datetime | None = None
    direction: str = ""
    kind: str = ""
    text: str = ""
    limit: int = DEFAULT_LIMIT
    before: Position | None = None


class Export(NamedTuple):
    """Which messages to export. ``after`` is the id of the last one the caller has."""

    query: Query
    after: str


def list_query(parameters: Mapping[str, str]) -> Query:
    """The query of ``GET /api/messages``. Raises ``BadParameter``."""
    _only(parameters, _LIST)
    direction = parameters.get("direction", "")
    if direction not in ("", "in", "out"):
        raise BadParameter("direction: must be in or out")
    kind = parameters.get("kind", "")
    if kind and not _KIND.match(kind):
        raise BadParameter("kind: must be a kind such as text, image or event.click")
    text = parameters.get("text", "")
    if len(text) > MAX_TEXT or "\0" in text:
        raise BadParameter(f"text: must be {MAX_TEXT} characters or fewer, and is taken as it stands")
    limit = parameters.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= MAX_LIMIT):
        raise BadParameter(f"limit: must be a whole number from 1 to {MAX_LIMIT}")
    cursor = parameters.get("cursor", "")
    return _range(parameters)._replace(
        openid=_name(parameters, "openid"),
        direction=direction,
        kind=kind,
        text=text,
        limit=int(limit),
        before=position(cursor) if cursor else None,
    )


def export_query(parameters: Mapping[str, str]) -> Export:
    """The query of ``GET /api/messages/export``. Raises ``BadParameter``."""
    _only(parameters, _EXPORT)
    return Export(_range(parameters), _name(parameters, "after"))


def cursor_of(position: Position) -> str:
    """A position as the opaque text that a caller hands back."""
    packed = msgspec.json.encode((round(position.at.timestamp() * 1000), position.id))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def position(cursor: str) -> Position:
    """The position in a cursor. Raises ``BadParameter``."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        milliseconds, name = msgspec.json.decode(packed, type=tuple[int, str])
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (binascii.Error, ValueError, msgspec.DecodeError, OverflowError, OSError):
        raise BadParameter("cursor: must be the next of an earlier answer, unchanged") from None
    return Position(at, name)


def moment(name: str, text: str) -> datetime:
    """A time as RFC 3339 or as seconds since the epoch. Raises ``BadParameter`` naming the parameter."""
    at: datetime | None
    try:
        if _EPOCH.match(text):
            at = datetime.fromtimestamp(float(text), UTC)
        else:
            # In a query a bare + is a space; whoever wrote 12:00:00+08:00 meant the plus.
            at = msgspec.convert(text.replace(" ", "+") if text.count(" ") == 1 and "T" in text else text, datetime)
        at = at.astimezone(UTC) if at.tzinfo else None
    except (msgspec.ValidationError, ValueError, OverflowError, OSError):
        at = None
    if at is None or at >= _LATEST:
        raise BadParameter(
            f"{name}: must be a time with its offset, such as 2026-01-31T08:00:00+08:00 or 2026-01-31T00:00:00Z,"
            " or seconds since 1970"
        )
    return at


def in_order(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A page, newest first, in which no answer is older than its cause.

    WeChat's time of a message has whole seconds by its clock, ours of an answer has milliseconds by our own.
    """
    times = {document["_id"]: document["at"] for document in documents}

    def key(document: dict[str, Any]) -> tuple[datetime, str]:
        at = document["at"]
        return max(at, times.get(document.get("cause") or "", at)), document["_id"]

    return sorted(documents, key=key, reverse=True)


def _only(parameters: Mapping[str, str], known: tuple[str, ...]) -> None:
    for name in parameters:
        if name not in known:
            raise BadParameter(f"{name[:40]}: there is no such parameter; there are {', '.join(known)}")
    getall = getattr(parameters, "getall", None)
    for name in parameters:
        if getall and len(getall(name)) > 1:
            raise BadParameter(f"{name}: must be given once")


def _range(parameters: Mapping[str, str]) -> Query:
    start = moment("from", parameters["from"]) if parameters.get("from") else None
    end = moment("to", parameters["to"]) if parameters.get("to") else None
    if start and end and start >= end:
        raise BadParameter("to: must be later than from")
    return Query(account=_name(parameters, "account"), start=start, end=end)


def _name(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name, "")
    if len(value.encode()) > MAX_NAME or "\0" in value:
        raise BadParameter(f"{name}: must be {MAX_NAME} bytes or fewer")
    return value
