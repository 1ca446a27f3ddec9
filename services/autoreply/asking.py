"""Everything that deciding about a batch of events needs to know of its followers, asked once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from contracts.envelope import Event
from services.autoreply.deciding import Asked
from services.autoreply.engine import Known
from services.autoreply.memory import NOBODY, Profile
from services.autoreply.turn import Follower, Turn

OF_PROFILE = frozenset(("tags", "following_since"))
FIRST = "first_message"


class Remembering(Protocol):
    """What is known and remembered of followers; every call raises ``Unavailable`` when the store is away."""

    async def turns(self, followers: Iterable[Follower]) -> dict[Follower, Turn]: ...

    async def write(self, turns: list[Turn]) -> set[Follower]: ...

    async def profiles(self, followers: Iterable[Follower]) -> dict[Follower, Profile]: ...

    async def wrote_before(self, events: Mapping[Follower, Event]) -> set[Follower]: ...

    async def answered_since(self, turns: Iterable[Turn]) -> set[Follower]: ...


class People(Protocol):
    """Who is in a conversation with a person, or waits for one."""

    def assigned(self, account: str, openid: str) -> bool: ...

    def waiting(self, account: str, openid: str) -> bool: ...

    def position(self, account: str, openid: str) -> int: ...

    def expect(self, account: str, openid: str) -> None: ...

    async def taken(self, followers: Iterable[Follower]) -> set[Follower]: ...


@dataclass
class Facts:
    """What was found. ``taken`` are those with whom a person talks by now."""

    turns: dict[Follower, Turn]
    profiles: dict[Follower, Profile]
    taken: set[Follower]
    strangers: Mapping[Follower, Event]
    """For those of whom nobody knew whether they had written before: the first message of theirs in this batch."""
    wrote_before: set[Follower]
    answered_since: set[Follower]

    def seen(self, asked: Asked, turn: Turn) -> Turn:
        """The turn as it is when this event comes, with what was found out about the time before it."""
        if asked.follower in self.answered_since:
            self.answered_since.discard(asked.follower)
            turn = turn.answered()
        if turn.met is None and asked.follower in self.strangers:
            first = self.strangers[asked.follower]
            turn = replace(turn, met="" if asked.follower in self.wrote_before else first.id)
        return turn

    def known(self, asked: Asked, turn: Turn, plain: Known) -> Known:
        """What the rules may ask about."""
        assert asked.rules is not None
        profile = self.profiles.get(asked.follower, NOBODY)
        return msgspec.structs.replace(
            plain,
            tags=profile.tags,
            following_since=profile.subscribed_at,
            first_message=asked.is_message and turn.met == asked.event.id,
            fired=turn.fired,
            unanswered=len(turn.unanswered),
        )


def concerned(people: People, follower: Follower) -> bool:
    """Whether a person may talk with this follower. What is known here is half a second old, so that it is looked up.

    There are few of them: what is said in a conversation takes another lane, and does not come to the machine.
    """
    return people.waiting(*follower) or people.assigned(*follower)


async def ask(memory: Remembering, people: People, undecided: list[Asked]) -> Facts:
    """Ask each collection that matters once. Raises ``Unavailable``."""
    followers = dict.fromkeys(asked.follower for asked in undecided)
    about = {asked.follower for asked in undecided if asked.rules and asked.rules.needs & OF_PROFILE}
    doubtful = [follower for follower in followers if concerned(people, follower)]
    turns, profiles, taken = await asyncio.gather(
        memory.turns(followers),
        memory.profiles(about) if about else _nothing(),
        people.taken(doubtful) if doubtful else _nobody(),
    )
    strangers: dict[Follower, Event] = {}
    for asked in undecided:
        wants = asked.rules is not None and FIRST in asked.rules.needs and asked.is_message
        if wants and turns[asked.follower].met is None:
            strangers.setdefault(asked.follower, asked.event)
    left = [turn for turn in turns.values() if turn.unanswered]
    wrote, answered = await asyncio.gather(
        memory.wrote_before(strangers) if strangers else _nobody(),
        memory.answered_since(left) if left else _nobody(),
    )
    return Facts(turns, profiles, taken, strangers, wrote, answered)


async def _nothing() -> dict[Follower, Profile]:
    return {}


async def _nobody() -> set[Follower]:
    return set()
