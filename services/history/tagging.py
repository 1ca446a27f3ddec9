"""Which facts change a follower's tags. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from contracts import facts
from contracts.envelope import Event, data_as
from contracts.errors import Reject


class TagChange(NamedTuple):
    """Tags that a follower has (True) or has not (False) from ``at`` on."""

    account: str
    openid: str
    at: datetime
    tags: tuple[tuple[str, bool], ...]


def tag_change(event: Event) -> TagChange | None:
    """What a fact changes about somebody's tags, or None. Raises ``Reject`` for a fact without meaning."""
    if event.type != facts.FOLLOWER_TAGGED:
        return None
    try:
        tagged = data_as(event, facts.Tagged)
    except msgspec.DecodeError as error:
        raise Reject("malformed", f"data of {event.type}: {error}") from error
    if not event.subject:
        raise Reject("malformed", f"a {event.type} without a subject tags nobody")
    tags = (*((tag, False) for tag in tagged.remove), *((tag, True) for tag in tagged.add))
    return TagChange(event.account, event.subject, event.time, tags) if tags else None
