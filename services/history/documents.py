"""What is stored about a message: one document for each inbound message, outbound message and other fact. Pure.

The hot path: every message of a flood passes through ``inbound`` and ``outbound`` once, so both do no more than decode
the event's data and move what came out of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from contracts import facts, wechat
from contracts.content import Content, plain_text
from contracts.envelope import Event
from contracts.errors import Reject

Document = dict[str, Any]

OUTCOMES = {
    facts.REPLY_SENT: "sent",
    facts.SEND_ACCEPTED: "sent",
    facts.SEND_FAILED: "failed",
    facts.SEND_UNKNOWN: "unknown",
}
"""The facts that make an outbound document, and the status each tells."""

_TEXT_FIELDS = {
    "voice": "Recognition",
    "location": "Label",
    "link": "Title",
    "file": "Title",
    "miniprogrampage": "Title",
}
"""The platform's field that a kind's ``text`` comes from; ``Content`` for the kinds not named, EventKey for events."""

_fields = msgspec.json.Decoder(dict[str, Any]).decode
_anything = msgspec.json.Decoder(Any).decode


class _Kind(NamedTuple):
    """What an event's type tells: our ``kind``, and what the platform's own fields say when they say no more."""

    kind: str
    msg_type: str
    event: str
    text_field: str


@lru_cache(maxsize=512)  # bounded: the types come from outside
def _kind(event_type: str) -> _Kind:
    if event_type.startswith(wechat.EVENT):
        event = event_type.removeprefix(wechat.EVENT)
        return _Kind(f"event.{event}", "event", event, "EventKey")
    kind = event_type.removeprefix(wechat.MESSAGE)
    return _Kind(kind, kind, "", _TEXT_FIELDS.get(kind, "Content"))


def stored_id(account: str, openid: str, name: str) -> str:
    """The ``_id`` of a message: its own id, behind the follower it belongs to where the id does not begin so already.

    So one index, the one on ``_id``, holds each follower's messages together (``of_follower``). A second one for that,
    in random order like this, cost MongoDB as much as all the rest of a write.
    """
    owner = f"{account}|{openid}|"
    return name if name.startswith(owner) else owner + name


def of_follower(account: str, openid: str) -> Document:
    """The condition for the messages of one follower: a range of ``_id``. ``}`` is what comes after ``|``."""
    return {"_id": {"$gte": f"{account}|{openid}|", "$lt": f"{account}|{openid}}}"}}


def is_inbound(event_type: str) -> bool:
    return event_type.startswith((wechat.MESSAGE, wechat.EVENT))


def inbound(event: Event) -> Document:
    """The document of a message or event from a follower.

    ``fields`` holds the platform's fields but for those that stand elsewhere in the document with the same value;
    ``original`` puts them back. Raises ``Reject`` when the data is no JSON object.
    """
    try:
        fields = _fields(event.data)
    except msgspec.DecodeError as error:
        raise Reject("malformed", f"data of {event.type} is no JSON object: {error}") from error
    kind, msg_type, happened, text_field = _kind(event.type)
    text = fields.get(text_field)
    if isinstance(text, str):
        if text:
            del fields[text_field]
    else:
        text = str(text) if isinstance(text, int | float) else ""
    if fields.get("FromUserName") == event.subject:
        del fields["FromUserName"]
    created = fields.get("CreateTime")
    if type(created) is int and created == event.time.timestamp():
        del fields["CreateTime"]
    if fields.get("MsgType") == msg_type:
        del fields["MsgType"]
    if happened and fields.get("Event") == happened:
        del fields["Event"]
    document: Document = {
        "_id": stored_id(event.account, event.subject, event.id),
        "account": event.account,
        "openid": event.subject,
        "direction": "in",
        "kind": kind,
        "at": event.time,
        "lane": event.lane,
        "text": text,
        "fields": fields,
    }
    if event.attempt:
        document["attempt"] = event.attempt
    return document


def original(document: Document) -> dict[str, Any]:
    """The platform's own fields of an inbound document, as they came."""
    kind = str(document["kind"])
    happened = kind.startswith("event.")
    fields = {
        "FromUserName": document["openid"],
        "CreateTime": int(document["at"].timestamp()),
        "MsgType": "event" if happened else kind,
    }
    if happened:
        fields["Event"] = kind.removeprefix("event.")
    if document["text"]:
        fields["EventKey" if happened else _TEXT_FIELDS.get(kind, "Content")] = document["text"]
    return {**fields, **(_fields(document["raw"]) if "raw" in document else document["fields"])}


class _Told(msgspec.Struct):
    """What ``ReplySent`` and ``SendOutcome`` have in common, read in one go."""

    content: Content
    because: dict[str, Any]
    via: str = ""
    send: str = ""
    errcode: int | None = None
    reason: str = ""


class _Odd(_Told):
    """The same with a content that is not known here: it stays as it is."""

    content: dict[str, Any]  # type: ignore[assignment]  # wider on purpose


_told = msgspec.json.Decoder(_Told).decode
_odd = msgspec.json.Decoder(_Odd).decode


def outbound(event: Event) -> Document:
    """The document of an answer or another message to a follower. Raises ``Reject`` for data that is neither."""
    text = ""
    try:
        told = _told(event.data)
        text = plain_text(told.content)
    except msgspec.DecodeError:
        try:
            told = _odd(event.data)
        except msgspec.DecodeError as error:
            raise Reject("malformed", f"data of {event.type}: {error}") from error
    content: dict[str, Any] = msgspec.to_builtins(told.content)
    document: Document = {
        "_id": stored_id(event.account, event.subject, told.send or event.id),
        "account": event.account,
        "openid": event.subject,
        "direction": "out",
        "kind": content.get("type", ""),
        "at": event.time,
        "text": text,
        "content": content,
        "cause": event.cause,
        "because": told.because,
        "via": told.via or ("passive" if event.type == facts.REPLY_SENT else "custom"),
        "status": OUTCOMES[event.type],
    }
    if told.errcode is not None:
        document["errcode"] = told.errcode
    if told.reason:
        document["reason"] = told.reason
    return document


def fact(event: Event) -> Document:
    """The document of any other fact. Nothing is dropped: what is not understood today may be asked for tomorrow."""
    document: Document = {
        "_id": event.id,
        "type": event.type,
        "account": event.account,
        "at": event.time,
        "data": _anything(event.data),
    }
    if event.subject:
        document["openid"] = event.subject
    if event.cause:
        document["cause"] = event.cause
    return document


def plain(document: Document) -> Document:
    """The same document with what came from outside as JSON text: for the rare one that BSON cannot hold."""
    for name in ("fields", "data", "content"):
        if name in document:
            kept = {key: value for key, value in document.items() if key != name}
            return {**kept, "raw": msgspec.json.encode(document[name]).decode()}
    return document
