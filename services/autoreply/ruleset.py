"""A rule set, compiled: for an event the few rules that may take it are found without looking at the others. Pure.

Who searches texts is given from outside (``TextsFactory``): it stands on drivers, and this module does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from contracts.content import Content
from contracts.text import CONTAINS, EXACT, PREFIX, REGEX, Hit, Keyword, Texts, normalise, without_punctuation
from contracts.triage import EntryTable
from services.autoreply import conditions, templates
from services.autoreply.conditions import Check, Heard
from services.autoreply.faq import FaqIndex
from services.autoreply.format import FaqPair, Rule, RuleSetDocument
from services.autoreply.medianames import contents, media_names
from services.autoreply.templates import Render

TextsFactory = Callable[..., Texts]
"""Called with the keywords, and ``strip_punctuation`` by name."""

PERSON_SHORT = 12
"""A text this short that holds a word for a person asks for one; a longer one may only talk about people."""
MIN_WITHIN = 2
"""Characters of a word that counts within a short text; a shorter one only by itself."""
_NEAR = ("message.location", "event.location")


class CannotCompile(Exception):
    """The rule set cannot be used; the text says which rule and why."""


@dataclass(frozen=True)
class Answering:
    """A content, and what fills it in where it has variables."""

    content: Content
    render: Render | None
    rule: str


@dataclass(frozen=True)
class Compiled:
    """One rule. ``kinds`` narrow a text to these kinds of messages."""

    index: int
    rule: Rule
    checks: tuple[Check, ...]
    answers: tuple[Answering, ...]
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """A rule that may take what came, and how it was found. The least one is asked first."""

    rank: tuple[int, int, int]
    compiled: Compiled
    matcher: str
    hit: Hit | None = None


@dataclass
class RuleSet:
    """The rules of one account. ``version`` stands behind every answer that they give."""

    version: str
    document: RuleSetDocument
    zone: ZoneInfo
    rules: list[Compiled]
    texts: Texts | None
    default: Answering | None = None
    person: Answering | None = None
    """What they are told who ask for a person."""
    faq: FaqIndex | None = None
    faq_answers: list[Answering] = field(default_factory=list)
    needs: frozenset[str] = frozenset()
    """What ``decide`` wants to know of a follower: tags, first_message, following_since, fired."""
    limited: frozenset[str] = frozenset()
    """Rules with a limit: each time one fires for a follower must be remembered."""
    entry: EntryTable = field(default_factory=EntryTable)
    media: frozenset[str] = frozenset()
    """Names of the account's media library that its answers use."""
    _words: frozenset[str] = frozenset()
    _within: tuple[str, ...] = ()
    _by_trigger: dict[str, list[Compiled]] = field(default_factory=dict)
    _by_key: dict[tuple[str, str], list[Compiled]] = field(default_factory=dict)
    _any_message: list[Compiled] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.rules) + bool(self.default)

    def day_of(self, now: datetime) -> str:
        """The day by which "once a day" counts."""
        return conditions.day_of(now, self.zone)

    def wants_person(self, text: str) -> bool:
        """Whether a text asks for a person."""
        bare = without_punctuation(normalise(text))
        if bare in self._words:
            return True
        if len(bare) > PERSON_SHORT:
            return False
        return any(word in bare for word in self._within)

    def pair(self, number: int) -> FaqPair:
        return self.document.faq[number]

    def candidates(self, heard: Heard) -> list[Candidate]:
        """The rules that may take it, in the order in which they are asked."""
        found: dict[int, Candidate] = {}
        if heard.text and self.texts:
            for hit in self.texts.find(heard.text):
                known = found.get(hit.owner)
                # The better of two ways by which a rule is found: an exact keyword.
                if known is None or (hit.matcher == EXACT and known.matcher != EXACT):
                    compiled = self.rules[hit.owner]
                    if not compiled.kinds or heard.name in compiled.kinds:
                        found[hit.owner] = _candidate(compiled, hit.matcher, hit)
        trigger = f"{'event' if heard.event else 'message'}.{heard.name}"
        for compiled in self._by_key.get((trigger, heard.key), ()) if heard.key else ():
            found.setdefault(compiled.index, _candidate(compiled, heard.name if heard.name == "click" else "event"))
        for compiled in self._by_trigger.get(trigger, ()):
            matcher = _matcher(heard, trigger, compiled)
            found.setdefault(compiled.index, _candidate(compiled, matcher))
        if not heard.event:
            for compiled in self._any_message:
                found.setdefault(compiled.index, _candidate(compiled, "kind"))
        return sorted(found.values(), key=lambda one: one.rank) if len(found) > 1 else list(found.values())


def _candidate(compiled: Compiled, matcher: str, hit: Hit | None = None) -> Candidate:
    return Candidate((-compiled.rule.priority, matcher != EXACT, compiled.index), compiled, matcher, hit)


def _matcher(heard: Heard, trigger: str, compiled: Compiled) -> str:
    if compiled.rule.when.near and trigger in _NEAR:
        return "near"
    if not heard.event:
        return "kind"
    return heard.name if heard.name in ("subscribe", "click") else "event"


def compile_ruleset(document: RuleSetDocument, version: str, texts: TextsFactory) -> RuleSet:
    """Compile a document that was found good by the lint. Raises ``CannotCompile``."""
    try:
        zone = ZoneInfo(document.timezone)
        rules = [_compiled(index, rule, zone, document) for index, rule in enumerate(document.rules)]
        keywords = [keyword for index, rule in enumerate(document.rules) for keyword in keywords_of(index, rule)]
        index = texts(keywords, strip_punctuation=document.strip_punctuation) if keywords else None
        people = document.people
        words = frozenset(without_punctuation(normalise(word)) for word in people.words) - {""}
        default = _answering(document.default.reply, document.default.id) if document.default else None
        compiled = RuleSet(
            version,
            document,
            zone,
            rules,
            index,
            default,
            _answering(people.reply, "people") if people.reply else default,
            FaqIndex([pair.questions for pair in document.faq]) if document.faq else None,
            [_answering(pair.answer, f"faq:{pair.id}") for pair in document.faq],
            _needs(document),
            frozenset(rule.id for rule in document.rules if rule.limit),
            entry_table(document),
            media_names(document),
            words,
            # A word in letters must stand alone: nobody who writes "management" asks for an agent.
            tuple(word for word in words if len(word) >= MIN_WITHIN and not word.isascii()),
        )
        _route(compiled)
    except (ValueError, templates.TemplateFault, OSError) as error:  # zoneinfo raises all sorts of them
        raise CannotCompile(f"{type(error).__name__}: {error}") from error
    return compiled


def keywords_of(index: int, rule: Rule) -> Iterable[Keyword]:
    """What the rule looks for in texts."""
    text = rule.when.text
    if text is None:
        return
    for matcher, words in ((EXACT, text.exact), (PREFIX, text.prefix), (CONTAINS, text.contains), (REGEX, text.regex)):
        for word in words:
            yield index, matcher, word


def _compiled(index: int, rule: Rule, zone: ZoneInfo, document: RuleSetDocument) -> Compiled:
    try:
        checks = conditions.checks(rule, zone, document.hours)
        answers = tuple(_answering(content, rule.id) for content in rule.contents)
    except (ValueError, templates.TemplateFault) as error:
        raise CannotCompile(f"rule {rule.id!r}: {error}") from error
    return Compiled(index, rule, checks, answers, frozenset(rule.when.kind) if rule.when.text else frozenset())


def _answering(content: Content, rule: str) -> Answering:
    return Answering(content, templates.compiled(content), rule)


def _route(rules: RuleSet) -> None:
    """Put each rule where what triggers it finds it."""
    by_trigger: dict[str, list[Compiled]] = defaultdict(list)
    by_key: dict[tuple[str, str], list[Compiled]] = defaultdict(list)
    for one in rules.rules:
        when = one.rule.when
        events = dict.fromkeys((*(f"event.{event.lower()}" for event in when.event), *_short(when.subscribe)))
        for event in events:
            if when.key:
                for key in when.key:
                    by_key[event, key].append(one)
            else:
                by_trigger[event].append(one)
        for key in when.click:
            by_key["event.click", key].append(one)
        if not when.text:
            for kind in when.kind:
                by_trigger[f"message.{kind}"].append(one)
        if when.near:
            for trigger in _NEAR:
                by_trigger[trigger].append(one)
        if when.first_message and not (when.text or when.kind or events or when.click or when.near):
            rules._any_message.append(one)  # noqa: SLF001  # this module's own
    rules._by_trigger, rules._by_key = dict(by_trigger), dict(by_key)  # noqa: SLF001


def _short(subscribe: bool) -> tuple[str, ...]:
    return ("event.subscribe",) if subscribe else ()


def _needs(document: RuleSetDocument) -> frozenset[str]:
    needs: set[str] = set()
    for rule in document.rules:
        needs |= {
            name
            for name, wanted in (
                ("tags", rule.when.tags),
                ("first_message", rule.when.first_message),
                ("following_since", rule.when.new_days),
                ("fired", rule.limit),
            )
            if wanted
        }
    if any("tags" in templates.variables(content) for content in contents(document)):
        needs.add("tags")
    return frozenset(needs)


def entry_table(document: RuleSetDocument) -> EntryTable:
    """What the gateways need of the rules that are marked ``lane: entry``."""
    words: Mapping[str, list[str]] = {name: [] for name in (EXACT, PREFIX, CONTAINS, REGEX)}
    for index, rule in enumerate(document.rules):
        if rule.lane == "entry":
            for _, matcher, word in keywords_of(index, rule):
                words[matcher].append(word)
    return EntryTable(
        **{name: tuple(dict.fromkeys(found)) for name, found in words.items()},
        strip_punctuation=document.strip_punctuation,
    )
