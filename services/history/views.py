"""What the history's API takes and gives, as types: OpenAPI is made of them. ``shown`` makes the values."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from services.history.query import DEFAULT_LIMIT, MAX_LIMIT, MAX_TEXT

Moment = Annotated[
    str, msgspec.Meta(description="a time with its offset, such as 2026-01-31T00:00:00Z, or seconds since 1970")
]


class MessageQuery(msgspec.Struct, rename={"start": "from", "end": "to"}):
    account: str = ""
    openid: str = ""
    start: Moment = ""
    end: Moment = ""
    direction: Annotated[str, msgspec.Meta(description="in or out")] = ""
    kind: str = ""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(description="the next of the answer before")] = ""


class ExportQuery(msgspec.Struct, rename={"start": "from", "end": "to"}):
    account: str = ""
    start: Moment = ""
    end: Moment = ""
    after: Annotated[str, msgspec.Meta(description="id of the last message that the caller has")] = ""


class Message(msgspec.Struct, omit_defaults=True):
    """A message, in or out. What a kind does not have is left out."""

    id: str
    account: str
    openid: str
    direction: str
    kind: str
    at: str
    text: str
    lane: str = ""
    fields: dict[str, Any] = {}
    content: dict[str, Any] = {}
    cause: str = ""
    because: dict[str, Any] = {}
    via: str = ""
    status: str = ""
    errcode: int | None = None
    reason: str = ""


class MessagePage(msgspec.Struct):
    messages: list[Message]
    next: str | None


class MessageWithAnswers(msgspec.Struct):
    message: Message
    answers: list[Message]


class Follower(msgspec.Struct):
    account: str
    openid: str
    subscribed: bool | None
    subscribed_at: str | None
    unsubscribed_at: str | None
    scene: str | None
    first_seen: str | None
    last_seen: str | None
    last_message_at: str | None
    last_interaction_at: str | None
    messages_in: int
    messages_in_capped: bool
    messages_out: int
    messages_out_capped: bool
    erased: bool
    erase_after: str | None
