"""What the API of rules takes and gives, as types: OpenAPI is made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from services.autoreply.difference import Difference
from services.autoreply.repository import Draft, Live, Version
from services.autoreply.trying import Follower, Imagined

Note = Annotated[str, Meta(max_length=500)]
Number = Annotated[int, Meta(ge=1, le=2**31)]


class Given(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule set: exactly one of a YAML text, a document, the number of a version, or the draft."""

    yaml: str | None = None
    document: dict[str, Any] | None = None
    version: Number | None = None
    draft: bool = False


class Publish(Given, forbid_unknown_fields=True, kw_only=True):
    """``base`` is the version that was live when its author began: with another operator's in between it is refused."""

    note: Note = ""
    base: Annotated[int, Meta(ge=0, le=2**31)] | None = None


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    version: Number
    note: Note = ""


class SaveDraft(msgspec.Struct, forbid_unknown_fields=True):
    """``etag`` is that of the draft that is replaced; without one there must be none yet."""

    yaml: str
    etag: str | None = None
    base: Annotated[int, Meta(ge=0, le=2**31)] = 0


class Simulate(Given, forbid_unknown_fields=True, kw_only=True):
    """Without a rule set the live one is asked."""

    message: Imagined
    follower: Follower = Follower()


class ReplayOver(Given, forbid_unknown_fields=True, kw_only=True):
    """``skip`` and ``limit`` bound the changed messages that are listed; all are counted."""

    days: Annotated[int, Meta(ge=1, le=90)] = 7
    skip: Annotated[int, Meta(ge=0, le=10**9)] = 0
    limit: Annotated[int, Meta(ge=0, le=10_000)] = 200


class VersionsQuery(msgspec.Struct):
    below: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class DiffQuery(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """Without ``to`` the live version."""

    start: Number
    end: Number | None = None


class DraftQuery(msgspec.Struct):
    etag: str = ""


class LiveView(msgspec.Struct):
    account: str
    version: int
    by: str
    at: datetime
    note: str
    previous: int
    rolled_back: bool


class LiveRules(msgspec.Struct):
    live: LiveView
    yaml: str
    document: dict[str, Any]
    draft: bool


class VersionView(msgspec.Struct):
    account: str
    version: int
    by: str
    at: datetime
    note: str
    base: int
    rules: int
    live: bool


class VersionPage(msgspec.Struct):
    versions: list[VersionView]
    next: int | None


class WholeVersion(msgspec.Struct):
    version: VersionView
    yaml: str
    document: dict[str, Any]


class DraftView(msgspec.Struct):
    account: str
    yaml: str
    etag: str
    by: str
    at: datetime
    base: int


class Fault(msgspec.Struct):
    line: int
    sentence: str
    rule: str
    field: str
    reason: str
    fix: str


class Verdict(msgspec.Struct):
    """``problems`` is empty for a rule set that could be published."""

    good: bool
    rules: int
    problems: list[Fault]


class Done(msgspec.Struct):
    """``new`` is false when just that was live already."""

    version: int
    new: bool
    live: LiveView


class DiffView(msgspec.Struct):
    """The versions, and what differs."""

    start: int = msgspec.field(name="from")
    end: int = msgspec.field(name="to")
    empty: bool
    difference: Difference


class ReplayLine(msgspec.Struct):
    """One line of a replay: how far it is, a message whose answer would change, or at the end what it came to."""

    read: int | None = None
    change: dict[str, Any] | None = None
    done: dict[str, Any] | None = None


def live_view(live: Live) -> LiveView:
    return LiveView(live.account, live.version, live.by, live.at, live.note, live.previous, live.rolled_back)


def version_view(one: Version, live: Live | None) -> VersionView:
    is_live = live is not None and live.version == one.version
    return VersionView(one.account, one.version, one.by, one.at, one.note, one.base, one.rules, is_live)


def draft_view(draft: Draft) -> DraftView:
    return DraftView(draft.account, draft.text, draft.etag, draft.by, draft.at, draft.base)
