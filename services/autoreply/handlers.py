"""From a batch of events to their decisions: answers, what else is to be done, or silence with its reason.

Most events of a flood are answered by a plain rule, and for those nothing is asked or written anywhere. The others are
decided together: for the whole batch one question to each collection that matters, and one write.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from chassis import logs, metrics
from chassis.consumer import Result
from chassis.publisher import Publication
from contracts import wechat
from contracts.content import Content
from contracts.envelope import Event
from contracts.errors import Later, Retry, Unavailable
from services.autoreply import deciding
from services.autoreply.asking import Facts, People, Remembering, ask, concerned
from services.autoreply.deciding import Asked
from services.autoreply.engine import Known
from services.autoreply.outgoing import JOINS, publications, window
from services.autoreply.replaying import message_alone
from services.autoreply.ruleset import RuleSet
from services.autoreply.turn import Follower, Turn
from services.autoreply.verdict import Verdict

log = logs.get(__name__)

TRIES = 5
"""Of a batch whose followers' turns somebody else changes at the same moment."""

AWAY_SECONDS = 2.0
"""After a failure MongoDB is not asked for so long: waiting for it again would use up the time of every answer."""

WAIT_SECONDS = 5.0
"""How long an event waits on the bus that cannot be decided without MongoDB."""

MATCHERS = ("exact", "prefix", "contains", "regex", "event", "kind", "click", "subscribe", "near", "faq", "default")
OTHERS = ("none", "handoff", "silent", deciding.CONVERSATION, deciding.REPEATED)


class Rules(Protocol):
    """The rules in force."""

    def get(self, account: str) -> RuleSet | None: ...


class Media(Protocol):
    """The library's ids at hand."""

    def resolve(self, account: str, content: Content) -> Content: ...


SHORT = 40
"""Characters of a text whose verdict is remembered."""
REMEMBERED = 5_000
"""Texts of one account that are remembered; there are never so many that are said often."""


@dataclass
class _Said:
    """What one rule set says to texts. ``alone``: it looks at nothing but the message."""

    rules: RuleSet
    alone: bool
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)


class AutoReply:
    """Decides about events. The same event leads to the same answer id, so deciding twice does no harm."""

    def __init__(self, rules: Rules, memory: Remembering, people: People, media: Media | None = None) -> None:
        self._media = media
        self._rules = rules
        self._memory = memory
        self._people = people
        self._away_until = 0.0
        self._said: dict[str, _Said] = {}
        self._count = {matcher: metrics.decisions.labels(matcher) for matcher in (*MATCHERS, *OTHERS)}
        self._other = metrics.decisions.labels("other")

    async def handle(self, events: list[Event]) -> list[Result]:
        started = time.perf_counter()
        batch = [self._look(event) for event in events]
        undecided = [asked for asked in batch if asked.open]
        if undecided:
            await self._decide(undecided)
        now = datetime.now(UTC)
        results: list[Result] = [self._result(asked, now) for asked in batch]
        metrics.match_seconds.observe(time.perf_counter() - started)
        return results

    def _look(self, event: Event) -> Asked:
        """Decide at once what needs nothing beyond the message itself."""
        asked = Asked(event, wechat.Unknown({}), self._rules.get(event.account))
        try:
            asked.inbound = wechat.view(event.type, event.data)
            if asked.rules is None:
                asked.verdict = Verdict("none", note="the account has no rules")
            elif not asked.rules.needs and not concerned(self._people, asked.follower):
                asked.verdict = self._plain(asked)
        except Exception as error:  # one odd event must not take its batch along
            asked.error = error
        return asked

    def _plain(self, asked: Asked) -> Verdict | None:
        """The verdict about what needs no memory, None for what does.

        A flood says the same few texts again and again: where rules look at nothing but the message, what they say to a
        short text is remembered for as long as they are in force.
        """
        assert asked.rules is not None
        said = self._said.get(asked.event.account)
        if said is None or said.rules is not asked.rules:
            said = self._said[asked.event.account] = _Said(asked.rules, message_alone(asked.rules))
        what = asked.inbound
        key = None
        if said.alone and type(what) is wechat.TextMessage and len(what.content) <= SHORT and not what.biz_msg_menu_id:
            key = what.content, asked.event.lane
        if key and (known := said.verdicts.get(key)):
            return known
        verdict = deciding.verdict_of(asked, self._known(asked))
        if deciding.needs_memory(asked, verdict):
            return None
        if key and verdict.handover is None and len(said.verdicts) < REMEMBERED:
            said.verdicts[key] = verdict
        return self._expected(asked, verdict)

    def _known(self, asked: Asked) -> Known:
        return deciding.known(asked, self._people.position(*asked.follower))

    def _expected(self, asked: Asked, verdict: Verdict) -> Verdict:
        if verdict.handover and verdict.handover.reason != JOINS:
            self._people.expect(*asked.follower)
        return verdict

    async def _decide(self, undecided: list[Asked]) -> None:
        """Decide with what is remembered of the followers. Every event given here gets a verdict or an error."""
        try:
            for _ in range(TRIES):
                self._mind_the_outage()
                undecided = await self._together(undecided)
                if not undecided:
                    return
        except Unavailable as error:
            if time.monotonic() >= self._away_until:
                log.warning("deciding without what is remembered of followers", reason=str(error))
                self._away_until = time.monotonic() + AWAY_SECONDS
            for asked in undecided:
                self._decide_alone(asked)
            return
        for asked in undecided:
            asked.error = Retry("contended", "what is remembered of the follower changes again and again")

    def _mind_the_outage(self) -> None:
        if time.monotonic() < self._away_until:
            raise Unavailable("mongodb", "it did not answer a moment ago")

    def _decide_alone(self, asked: Asked) -> None:
        """Without MongoDB: what its rules need to know must wait for it; anything else is decided as for a stranger."""
        assert asked.rules is not None
        if self._people.assigned(*asked.follower):
            asked.verdict = deciding.in_conversation(asked)
            return
        if asked.rules.needs:
            asked.error = Later("mongodb", WAIT_SECONDS)
            return
        try:
            asked.verdict = self._expected(asked, deciding.verdict_of(asked, self._known(asked)))
        except Exception as error:
            asked.error = error

    async def _together(self, undecided: list[Asked]) -> list[Asked]:
        """Decide about all of them; those whose follower's turn was changed by somebody else are left over."""
        facts = await ask(self._memory, self._people, undecided)
        changed: dict[Follower, Turn] = {}
        verdicts: list[tuple[Asked, Verdict]] = []
        for asked in undecided:
            turn = changed.get(asked.follower, facts.turns[asked.follower])
            try:
                verdict, after = self._one(asked, turn, facts)
            except Exception as error:
                asked.error = error
                continue
            if after is not turn:
                changed[asked.follower] = after
            # Now, so that the next one in this batch gets the next place.
            verdicts.append((asked, self._expected(asked, verdict)))
        lost = await self._memory.write(list(changed.values())) if changed else set()
        for asked, verdict in verdicts:
            if asked.follower not in lost:
                asked.verdict = verdict
        return [asked for asked in undecided if asked.open]

    def _one(self, asked: Asked, turn: Turn, facts: Facts) -> tuple[Verdict, Turn]:
        if recalled := turn.recall(asked.event.id):
            # However often it comes: a cooldown that it used up itself must not silence its own answer.
            return msgspec.structs.replace(recalled, matcher=deciding.REPEATED), turn
        if asked.follower in facts.taken:
            return deciding.in_conversation(asked), turn
        turn = facts.seen(asked, turn)
        verdict = deciding.verdict_of(asked, facts.known(asked, turn, self._known(asked)))
        waiting = self._people.waiting(*asked.follower)
        verdict = deciding.without_repetition(verdict, turn, asked, waiting=waiting)
        return verdict, deciding.remember(turn, asked, verdict)

    def _with_ids(self, account: str, verdict: Verdict) -> Verdict:
        """Put the id into the first part, which may go at once; the others get theirs when the courier sends them."""
        if self._media is None or not verdict.parts:
            return verdict
        first, *more = verdict.parts
        content = self._media.resolve(account, first.content)
        if content is first.content:
            return verdict
        return msgspec.structs.replace(verdict, parts=(msgspec.structs.replace(first, content=content), *more))

    def _result(self, asked: Asked, now: datetime) -> Result:
        if asked.error is not None or asked.verdict is None:
            return asked.error or Retry("undecided", "nothing was decided about this event")
        verdict = asked.verdict
        self._count.get(verdict.matcher, self._other).inc()
        if verdict.matcher == "faq":
            metrics.faq_answers.labels("answered").inc()
        if verdict.handover and verdict.matcher != deciding.REPEATED:
            metrics.handovers.labels(verdict.handover.reason).inc()
            if verdict.handover.candidates:
                metrics.faq_answers.labels("handed_over").inc()
        try:
            verdict = self._with_ids(asked.event.account, verdict)
            done: list[Publication] = publications(asked.event, verdict, window(asked.event, asked.inbound), now)
        except Exception as error:
            return error
        return done
