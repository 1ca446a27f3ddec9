"""The envelope of everything on the bus: CloudEvents 1.0 in structured JSON, always as a batch.

A message's body is a JSON array of one or many events (content type ``application/cloudevents-batch+json``).
``data`` stays undecoded bytes until a handler asks for it, so an event that is only carried costs nothing to carry.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

CONTENT_TYPE = "application/cloudevents-batch+json"
MAX_EVENTS = 128
MAX_BYTES = 256 * 1024

T = TypeVar("T")


class Event(msgspec.Struct, omit_defaults=True, kw_only=True, tag_field="specversion", tag="1.0", gc=False):
    """One fact or command.

    ``id`` is deterministic (see ``contracts.keys``): the same cause gives the same id, however often it is seen.
    ``subject`` is the openid. ``time`` is when it happened, as the platform or the process that saw it says.
    ``deadline`` is the last moment at which a passive reply is still of use.
    ``cause`` is the id of the event that led to this one. ``attempt`` counts how often handling it has failed.
    ``replyto`` is the queue of the gateway that still holds the callback open.
    ``firstfailed`` is the time of the first failure and travels with retries, so that a dead letter can tell it.
    """

    id: str
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    datacontenttype: str = "application/json"
    subject: str = ""
    time: datetime
    account: str
    lane: str = ""
    deadline: datetime | None = None
    cause: str = ""
    replyto: str = ""
    attempt: int = 0
    firstfailed: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Event])
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One event as a JSON object. Attributes at their defaults are left out."""
    return _encoder.encode(event)


def raw(data: Any) -> msgspec.Raw:
    """Any JSON-able value or struct as the ``data`` of an event."""
    return msgspec.Raw(_encoder.encode(data))


def join(encoded: list[bytes]) -> bytes:
    """A batch body from events that are already encoded."""
    return b"[" + b",".join(encoded) + b"]"


def decode(body: bytes) -> list[Event]:
    """The events of a batch body. Raises ``msgspec.DecodeError`` when any of them is not an event."""
    return _decoder.decode(body)


UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for bytes that are no event: broken UTF-8 and absurd nesting have errors of their own."""


def decode_lenient(body: bytes) -> tuple[list[Event], list[tuple[bytes, str]]]:
    """The good events of a batch, and the bad ones as (bytes, reason), so that one cannot take the rest with it."""
    try:
        return _decoder.decode(body), []
    except UNDECODABLE:
        pass
    try:
        items = _raw_decoder.decode(body)
    except UNDECODABLE as error:
        return [], [(body, str(error))]
    good: list[Event] = []
    bad: list[tuple[bytes, str]] = []
    for item in items:
        try:
            good.append(_event_decoder.decode(item))
        except UNDECODABLE as error:
            bad.append((bytes(item), str(error)))
    return good, bad


@lru_cache(maxsize=64)
def _data_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Making a decoder costs several times what it then takes to decode an event's data."""
    return msgspec.json.Decoder(kind, strict=False)


def data_as(event: Event, kind: type[T]) -> T:
    """The event's data as a typed value. Raises ``msgspec.ValidationError`` when it does not fit."""
    value: T = _data_decoder(kind).decode(event.data)  # type: ignore[arg-type]  # a type is hashable
    return value
