"""How many messages a follower's own acts allow. Pure: the clock is an argument.

A message from the follower opens 48 hours with 5 sends; a menu click, a follow or a scan opens one minute with 3. A
newer act of the same kind starts its window afresh. Source: WeChat's page "Customer service message / send". How the
two kinds add up is not stated there; here each has its own count, and a send uses the one that ends first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from contracts.facts import Window


class Limit(NamedTuple):
    lasts: timedelta
    sends: int


LIMITS: Mapping[str, Limit] = {
    "interaction": Limit(timedelta(minutes=1), 3),
    "message": Limit(timedelta(hours=48), 5),
}
"""By kind of window, the one that ends first before the other."""


class Share(msgspec.Struct, frozen=True):
    """One use of an allowance: the id of the send, and the fence of the claim under which it was taken."""

    send: str
    fence: int


class Opened(msgspec.Struct, frozen=True, omit_defaults=True):
    """One window of one follower. ``used`` holds who took a share, so that no send takes two.

    ``spent`` says that WeChat called it over before we did (sends by someone else count there too).
    """

    opened_at: datetime
    used: tuple[Share, ...] = ()
    spent: bool = False


class Allowance(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one follower: their windows by kind."""

    windows: dict[str, Opened] = {}


def offer(allowance: Allowance, window: Window) -> Allowance:
    """Take note of an act of the follower. Only a newer one than the known of its kind changes anything."""
    if window.kind not in LIMITS:
        return allowance
    # The store keeps milliseconds: finer ones would make the same act look newer than itself.
    at = window.opened_at.replace(microsecond=window.opened_at.microsecond // 1000 * 1000)
    known = allowance.windows.get(window.kind)
    if known is not None and at <= known.opened_at:
        return allowance
    return _with(allowance, window.kind, Opened(at))


def take(allowance: Allowance, share: Share, now: datetime) -> Allowance | None:
    """Use one send; None when nothing is left. A send that has its share already keeps it, under the newer claim."""
    for kind, opened in allowance.windows.items():
        for known in opened.used:
            if known.send == share.send:
                if known.fence >= share.fence:
                    return allowance
                used = tuple(share if other is known else other for other in opened.used)
                return _with(allowance, kind, msgspec.structs.replace(opened, used=used))
    for kind, limit in LIMITS.items():
        found = allowance.windows.get(kind)
        if found is None or not _open(found, limit, now) or found.spent or len(found.used) >= limit.sends:
            continue
        return _with(allowance, kind, msgspec.structs.replace(found, used=(*found.used, share)))
    return None


def give_back(allowance: Allowance, share: Share) -> Allowance:
    """Undo ``take``: the message provably did not reach the follower. A newer claim's share is not touched."""
    return Allowance(
        {
            kind: msgspec.structs.replace(opened, used=tuple(other for other in opened.used if other != share))
            for kind, opened in allowance.windows.items()
        }
    )


def spend(allowance: Allowance) -> Allowance:
    """WeChat refused for want of allowance: nothing more goes out until the follower acts again."""
    return Allowance({kind: msgspec.structs.replace(opened, spent=True) for kind, opened in allowance.windows.items()})


def refusal(allowance: Allowance, now: datetime) -> str:
    """Why nothing is left, in words for an agent."""
    wait = "It can be sent when they write again."
    alive = [
        (kind, opened)
        for kind, limit in LIMITS.items()
        if (opened := allowance.windows.get(kind)) is not None and _open(opened, limit, now)
    ]
    if any(opened.spent for _, opened in alive):
        return f"WeChat said that the follower's allowance is used up. {wait}"
    if any(kind == "message" for kind, _ in alive):
        return f"All 5 sends that the follower's last message allows are used. {wait}"
    if alive:
        return f"All 3 sends that the follower's last click, follow or scan allows are used. {wait}"
    if "message" in allowance.windows:
        return f"The 48 h window is over: the follower's last message is older. {wait}"
    if allowance.windows:
        return f"The one minute that a click, follow or scan allows is over. {wait}"
    return f"The follower has done nothing that allows a message: nothing is known of them. {wait}"


def _with(allowance: Allowance, kind: str, opened: Opened) -> Allowance:
    return Allowance({**allowance.windows, kind: opened})


def _open(opened: Opened, limit: Limit, now: datetime) -> bool:
    return now < opened.opened_at + limit.lasts
