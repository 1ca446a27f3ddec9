"""Replaying history: what would a rule set have answered that the live one does not? Pure; fed page by page.

Rule sets that look at nothing but the message decide once about each different text. A flood is mostly the same few
texts, so that is what makes a day of it a matter of seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from contracts.content import Content, Text
from services.autoreply import imagined
from services.autoreply.engine import Known, Outcome, decide
from services.autoreply.ruleset import RuleSet
from services.autoreply.trying import plain_action
from services.autoreply.turn import Firing, Turn

MAX_REMEMBERED = 100_000
"""Different messages of which it is remembered what became of them."""
MAX_FOLLOWERS = 200_000
"""Followers whose cooldowns are kept in mind; beyond that the oldest are forgotten."""
NOTHING = "(no rule)"

_POSITIONED = ("location", "event.location")


@dataclass(frozen=True)
class Profile:
    """What history knows of a follower today; for the time of the message it is the best guess there is."""

    tags: frozenset[str] = frozenset()
    subscribed_at: datetime | None = None


class Side(msgspec.Struct, frozen=True):
    """What one rule set makes of a message: compared as a whole."""

    rules: tuple[str, ...]
    answers: tuple[str, ...]
    actions: tuple[str, ...]
    note: str = ""

    @property
    def name(self) -> str:
        return " + ".join(self.rules) or NOTHING


class Change(msgspec.Struct, frozen=True):
    """A message whose answer would be another."""

    id: str
    at: datetime
    openid: str
    kind: str
    text: str
    before: Side
    after: Side


class Count(msgspec.Struct, frozen=True):
    before: str
    after: str
    messages: int


@dataclass
class _Replayed:
    """One of the two rule sets on its way through history, with the limits that it used up."""

    rules: RuleSet
    fired: dict[str, Turn] = field(default_factory=dict)
    seen: dict[tuple[str, str, str], Side] = field(default_factory=dict)
    simple: bool = False

    def __post_init__(self) -> None:
        self.simple = message_alone(self.rules)

    def side(self, document: Mapping[str, Any], profile: Profile, *, first: bool) -> Side:
        kind, text = document["kind"], document["text"]
        key = (kind, text, document.get("lane", ""))
        reusable = self.simple and kind not in _POSITIONED
        if reusable and (known := self.seen.get(key)):
            return known
        openid, at = document["openid"], document["at"]
        turn = self.fired.get(openid) if self.rules.limited else None
        fired: Mapping[str, Firing] = turn.fired if turn else {}
        known_then = Known(
            now=at,
            account=document["account"],
            openid=openid,
            lane=document.get("lane", ""),
            tags=profile.tags,
            first_message=first,
            following_since=profile.subscribed_at,
            fired=fired,
        )
        fields = document.get("fields") if kind in _POSITIONED else None
        heard = imagined.inbound(kind, text, openid, int(at.timestamp()), fields)
        outcome = decide(self.rules, heard, known_then)
        self._fire(outcome, document["account"], openid, at, turn)
        side = _side(outcome)
        if reusable:
            if len(self.seen) >= MAX_REMEMBERED:
                self.seen.clear()
            self.seen[key] = side
        return side

    def _fire(self, outcome: Outcome, account: str, openid: str, at: datetime, turn: Turn | None) -> None:
        limited = [rule for rule in outcome.rules if rule in self.rules.limited]
        if not limited:
            return
        if turn is None and len(self.fired) >= MAX_FOLLOWERS:
            del self.fired[next(iter(self.fired))]
        self.fired[openid] = (turn or Turn((account, openid))).fire(limited, at, self.rules.day_of(at))


class Replay:
    """Goes through history in order, oldest first. ``shown`` changes are handed out after the first ``skip``."""

    def __init__(self, before: RuleSet, after: RuleSet, since: datetime, *, skip: int = 0, shown: int = 1000) -> None:
        self._before = _Replayed(before)
        self._after = _Replayed(after)
        self._since = since
        self._skip = skip
        self._left = shown
        self._met: set[str] = set()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.read = 0
        self.changed = 0
        self.needs = before.needs | after.needs

    @property
    def needs_profiles(self) -> bool:
        return bool(self.needs & {"tags", "following_since", "first_message"})

    def page(self, documents: Iterable[Mapping[str, Any]], profiles: Mapping[str, Profile]) -> list[Change]:
        """Decide about a page of stored messages both ways; the changes that are to be shown."""
        changes: list[Change] = []
        stranger = Profile()
        for document in documents:
            self.read += 1
            profile = profiles.get(document["openid"], stranger) if profiles else stranger
            first = self._first(document, profile)
            before = self._before.side(document, profile, first=first)
            after = self._after.side(document, profile, first=first)
            if before is after or before == after:
                continue
            self.changed += 1
            self._counts[before.name, after.name] += 1
            if self.changed > self._skip and self._left > 0:
                self._left -= 1
                changes.append(_change(document, before, after))
        return changes

    def counts(self) -> list[Count]:
        """How many messages went from one rule to another, the most first."""
        return [Count(old, new, number) for (old, new), number in self._counts.most_common()]

    def assumptions(self) -> list[str]:
        """What could only be guessed, in words."""
        told = ["conversations with people and questions in a row that nothing answered are left out of account"]
        if self.needs & {"tags", "following_since"}:
            told.append("tags and the day of following are as they are today, not as they were then")
        if "first_message" in self.needs:
            told.append("a first message is that of a follower who began to follow within these days")
        if self._before.rules.limited or self._after.rules.limited:
            told.append("cooldowns and caps begin unused with the first of these days")
        return told

    def _first(self, document: Mapping[str, Any], profile: Profile) -> bool:
        if "first_message" not in self.needs or document["kind"].startswith("event."):
            return False
        openid = document["openid"]
        if openid in self._met:
            return False
        if len(self._met) < MAX_FOLLOWERS:
            self._met.add(openid)
        return profile.subscribed_at is not None and profile.subscribed_at >= self._since


def message_alone(rules: RuleSet) -> bool:
    """Whether the decision depends on the message and nothing else: no follower, no clock, no share, no template."""
    if rules.needs or rules.limited:
        return False
    if any(one.rule.when.time or one.rule.when.hours or one.rule.when.share for one in rules.rules):
        return False
    answers = [answer for one in rules.rules for answer in one.answers]
    answers += [one for one in (rules.default, rules.person) if one] + rules.faq_answers
    return not any(answer.render for answer in answers)


def _side(outcome: Outcome) -> Side:
    return Side(
        outcome.rules,
        tuple(_shown(answer.content) for answer in outcome.answers),
        tuple(_encoded(_without_scores(plain_action(action))) for action in outcome.actions),
        outcome.note,
    )


def _shown(content: Content) -> str:
    """A text as it is, anything else whole: two pictures differ though neither has words."""
    return content.content if isinstance(content, Text) else _encoded(content)


def _without_scores(action: dict[str, Any]) -> dict[str, Any]:
    """What goes along with a handover for the agent is no part of the answer."""
    return {name: value for name, value in action.items() if name != "candidates"}


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _change(document: Mapping[str, Any], before: Side, after: Side) -> Change:
    return Change(
        str(document["_id"]), document["at"], document["openid"], document["kind"], document["text"], before, after
    )
