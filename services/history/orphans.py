"""Answers whose gateway died: when they may go another way. Pure.

The gateway that still holds the callback open writes ``weir.reply.sent`` to the bus, confirmed, before it answers. So
an answer without that fact did not leave, once the deadline is past and the fact had the time to be stored.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from contracts.envelope import Event, data_as
from contracts.errors import Reject
from contracts.facts import Decision

GRACE = timedelta(seconds=5)
"""How long after the deadline a gateway may still be finishing: clocks differ, and a confirm takes its time."""


def decision_of(event: Event) -> Decision:
    """The decision in an orphan. Raises ``Reject`` for anything else."""
    try:
        return data_as(event, Decision)
    except msgspec.DecodeError as error:
        raise Reject("malformed", f"data of {event.type}: {error}") from error


def is_due(event: Event, now: datetime) -> bool:
    """Whether the answer's absence from the history proves that it was not given.

    It has to have gone one round of the retry ladder (``firstfailed`` is its mark): what was published before it,
    and is being written by another worker or process at this moment, is then stored.
    """
    return bool(event.firstfailed) and now >= (event.deadline or event.time) + GRACE


def another_round(event: Event, now: datetime) -> Event:
    """The same event, marked as having waited."""
    return msgspec.structs.replace(event, firstfailed=event.firstfailed or now.isoformat(timespec="seconds"))
