"""Why each rule did or did not take something: the same look as in deciding, put into words. Pure."""

from __future__ import annotations

import msgspec

from services.autoreply.conditions import Heard, Known
from services.autoreply.looking import look, wants_person
from services.autoreply.ruleset import Compiled, RuleSet


class Trace(msgspec.Struct, frozen=True):
    """``code`` is stable: took, behind (another rule), person (is asked for, before all rules), conversation (a person
    talks with the follower), other (not meant for such a thing), or that of the condition that did not hold.
    """

    rule: str
    took: bool
    code: str
    words: str


def explained(rules: RuleSet, heard: Heard, known: Known) -> list[Trace]:
    """Of every rule, in the order of the rule set."""
    taken, refused = look(rules, heard, known)
    by_index = {one.compiled.index: one for one in taken}
    asked = {one.compiled.index for one in rules.candidates(heard)}
    code, behind = "behind", f"rule {taken[-1].compiled.rule.id!r} goes before it and stops" if taken else ""
    if known.in_conversation:
        code, behind, by_index = "conversation", "a person talks with the follower; the machine is silent", {}
    elif wants_person(rules, heard):
        code, behind, by_index = "person", "the follower asks for a person, which goes before all rules", {}
    found: list[Trace] = []
    for one in rules.rules:
        name = one.rule.id
        if one.index in by_index:
            hit = by_index[one.index].hit
            how = f"{hit.matcher} {hit.what!r}" if hit else by_index[one.index].matcher
            found.append(Trace(name, True, "took", f"took it by {how}"))
        elif one.index in refused:
            found.append(Trace(name, False, refused[one.index].code, refused[one.index].words))
        elif one.index in asked:
            found.append(Trace(name, False, code, behind))
        else:
            found.append(Trace(name, False, "other", _not_meant(one, heard)))
    return found


def _not_meant(one: Compiled, heard: Heard) -> str:
    when = one.rule.when
    if when.text and heard.text:
        if one.kinds and heard.name not in one.kinds:
            return f"only for {', '.join(sorted(one.kinds))}"
        text = when.text
        count = sum(map(len, (text.exact, text.prefix, text.contains, text.regex)))
        return f"the text has none of its {count} keywords and patterns"
    if when.text and not heard.event:
        return f"it looks for keywords, and this {heard.name} has no text"
    what = f"the event {heard.name}" if heard.event else f"a message of kind {heard.name}"
    return f"not for {what}" + (" with this key" if heard.key and (when.click or when.key) else "")
