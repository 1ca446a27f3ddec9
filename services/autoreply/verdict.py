"""What was decided about one event, in the form in which it is carried out and remembered. Pure."""

from __future__ import annotations

import msgspec

from contracts.facts import ActivityStarted, Handover, Part, Tagged


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answers in their order, and what else is to be done. It is stored as JSON, so that deciding again about an event
    whose answer used up a cooldown, or a place in a count, gives the same answer.

    ``matcher`` is how it was found, ``rules`` which rules fired. ``note`` says why when there is nothing to say.
    """

    matcher: str
    rules: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    handover: Handover | None = None
    tagged: Tagged | None = None
    activities: tuple[ActivityStarted, ...] = ()
    note: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Verdict)


def to_json(verdict: Verdict) -> bytes:
    return _encoder.encode(verdict)


def from_json(stored: bytes) -> Verdict | None:
    """The verdict, or None when another version of Weir stored it in another form: it is then decided anew."""
    try:
        return _decoder.decode(stored)
    except msgspec.DecodeError:
        return None
