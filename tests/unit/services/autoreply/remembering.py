"""A memory of followers in a dict, and people at a desk, for tests of deciding without MongoDB. Counts what is asked."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.envelope import Event
from contracts.errors import Unavailable
from services.autoreply.memory import Profile
from services.autoreply.turn import Document, Follower, Turn, from_document, to_document


@dataclass
class FakeMemory:
    """As MongoDB would do it: documents, compared by their revision."""

    stored: dict[Follower, Document] = field(default_factory=dict)
    known: dict[Follower, Profile] = field(default_factory=dict)
    wrote: set[Follower] = field(default_factory=set)
    answered: set[Follower] = field(default_factory=set)
    away: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    interfere: list[Turn] = field(default_factory=list)
    """Turns that somebody else writes just before the next write here."""

    def _call(self, name: str) -> None:
        self.asked[name] += 1
        if self.away:
            raise Unavailable("mongodb", "is away")

    async def turns(self, followers: Iterable[Follower]) -> dict[Follower, Turn]:
        self._call("turns")
        return {f: from_document(self.stored[f]) if f in self.stored else Turn(f) for f in followers}

    async def write(self, turns: list[Turn]) -> set[Follower]:
        self._call("write")
        for other in self.interfere:
            self.stored[other.follower] = to_document(other)
        self.interfere.clear()
        lost = set()
        for turn in turns:
            if self.stored.get(turn.follower, {"revision": 0})["revision"] != turn.revision:
                lost.add(turn.follower)
            else:
                self.stored[turn.follower] = to_document(turn)
        return lost

    async def profiles(self, followers: Iterable[Follower]) -> dict[Follower, Profile]:
        self._call("profiles")
        return {follower: self.known[follower] for follower in followers if follower in self.known}

    async def wrote_before(self, events: Mapping[Follower, Event]) -> set[Follower]:
        self._call("wrote_before")
        return self.wrote & events.keys()

    async def answered_since(self, turns: Iterable[Turn]) -> set[Follower]:
        self._call("answered_since")
        return {turn.follower for turn in turns} & self.answered


@dataclass
class FakePeople:
    talking: set[Follower] = field(default_factory=set)
    """Known here to talk with a person."""
    just_taken: set[Follower] = field(default_factory=set)
    """Talking with a person as MongoDB has it, not known here yet."""
    queue: list[Follower] = field(default_factory=list)
    asked: int = 0

    def assigned(self, account: str, openid: str) -> bool:
        return (account, openid) in self.talking

    def waiting(self, account: str, openid: str) -> bool:
        return (account, openid) in self.queue

    def position(self, account: str, openid: str) -> int:
        follower = (account, openid)
        return (self.queue.index(follower) if follower in self.queue else len(self.queue)) + 1

    def expect(self, account: str, openid: str) -> None:
        if (account, openid) not in self.queue:
            self.queue.append((account, openid))

    async def taken(self, followers: Iterable[Follower]) -> set[Follower]:
        self.asked += 1
        return set(followers) & self.just_taken
