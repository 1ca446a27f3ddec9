"""The ledger over HTTP: which sends are in which state, the unknown ones above all, and one send."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from chassis.api import Call, endpoint
from chassis.http import Problem
from services.gateway.ledger import STATES, Ledger, Row

LIMIT = 50
MAX_LIMIT = 200
MAX_COUNT = 10_000

_PARAMETERS = ("account", "state", "limit", "cursor")
_SHOWN = ("state", "class", "account", "openid", "kind", "cause", "because", "attempts", "errcode", "reason", "at")


class SendQuery(msgspec.Struct):
    account: str = ""
    state: Annotated[str, msgspec.Meta(description=f"one of {', '.join(STATES)}")] = "unknown"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = LIMIT
    cursor: str = ""


class SendRow(msgspec.Struct, rename={"send_class": "class"}, omit_defaults=True):
    """``at`` holds the time of each state that the send went through."""

    id: str
    state: str
    send_class: str
    account: str
    openid: str
    kind: str
    cause: str
    because: dict[str, Any]
    at: dict[str, Any]
    attempts: int = 0
    errcode: int | None = None
    reason: str = ""


class SendPage(msgspec.Struct):
    sends: list[SendRow]
    count: int
    count_capped: bool
    next: str | None


class OneSend(msgspec.Struct):
    send: SendRow


class Api:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @endpoint(
        "GET", "/api/sends", "Sends in one state", allow="sends.read", query=SendQuery, reads_query=False,
        answers=SendPage,
    )  # fmt: skip
    async def sends(self, call: Call) -> dict[str, Any]:
        """A page of the sends in one state (unknown unless told), the last changed first, and how many there are."""
        query = call.request.query
        if wrong := sorted(set(query) - set(_PARAMETERS)):
            raise _bad(f"{wrong[0]}: not a parameter; known are {', '.join(_PARAMETERS)}")
        state, account = query.get("state", "unknown"), query.get("account", "")
        if state not in STATES:
            raise _bad(f"state: must be one of {', '.join(STATES)}")
        limit = _limit(query.get("limit", str(LIMIT)))
        before = _position(query["cursor"]) if query.get("cursor") else None
        rows = await self._ledger.newest(state, account, before, limit)
        count = await self._ledger.count(state, account, MAX_COUNT)
        return {
            "sends": [_shown(row) for row in rows],
            "count": count,
            "count_capped": count == MAX_COUNT,
            "next": _cursor(rows[-1]) if len(rows) == limit else None,
        }

    # An id may hold a slash: it can end in a menu key, and that in an address.
    @endpoint(
        "GET", "/api/sends/{id:.+}", "One send", allow="sends.read", answers=OneSend, errors=((404, "not_found"),)
    )
    async def send(self, call: Call) -> dict[str, Any]:
        """One send by its idempotency key, percent-encoded."""
        row = await self._ledger.get(call.path["id"])
        if row is None:
            raise Problem(404, "not_found", "there is no send of this id; percent-encode | and # in the address")
        call.require("sends.read", row["account"])
        return {"send": _shown(row)}


def _shown(row: Row) -> dict[str, Any]:
    return {"id": row["_id"], **{name: row[name] for name in _SHOWN if row.get(name) is not None}}


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise _bad(f"limit: must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _cursor(row: Row) -> str:
    milliseconds = (row["changed"] - _EPOCH) // timedelta(milliseconds=1)
    return base64.urlsafe_b64encode(msgspec.json.encode((milliseconds, row["_id"]))).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        milliseconds, key = msgspec.json.decode(packed, type=tuple[int, str])
        return _EPOCH + timedelta(milliseconds=milliseconds), key
    except (binascii.Error, ValueError, msgspec.DecodeError, OverflowError):
        raise _bad("cursor: must be the next of an earlier answer, unchanged") from None


def _bad(detail: str) -> Problem:
    return Problem(400, "bad_parameter", detail)
