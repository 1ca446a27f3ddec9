"""Many keywords and patterns, searched for in one text at once. The only user of pyahocorasick and google-re2.

Keywords stand in one automaton, so fifty thousand of them cost a text no more than one does. Patterns are RE2's: they
take time in proportion to the text, whatever is written in them, and so cannot blow up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ahocorasick
import re2

from contracts.text import EXACT, PREFIX, REGEX, Hit, Keyword, normalise, without_punctuation

SET_SIZE = 250
"""Patterns searched for together: a small set stays far inside the memory that its automaton may use."""
SHORT = 40
"""Characters of a text that is worth remembering, and how many of them are."""
REMEMBERED = 2_000
MAX_MEMORY = 32 * 1024 * 1024
MAX_PATTERN = 1000


class PatternError(ValueError):
    """No pattern of RE2's; the text says what is wrong with it."""


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    return options


_OPTIONS = _options()


def compiled(pattern: str) -> Any:
    """The pattern by itself. Raises ``PatternError``."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern)} characters; {MAX_PATTERN} are the most")
    try:
        return re2.compile(pattern, _OPTIONS)
    except (re2.error, UnicodeEncodeError, OverflowError) as error:
        told = error.args[0] if error.args else error
        raise PatternError(told.decode(errors="replace") if isinstance(told, bytes) else str(told)) from None


class TextIndex:
    """Keywords and patterns by owner. Raises ``PatternError`` for a pattern that is none.

    Keywords that are nothing once they are normalised are left out.
    """

    def __init__(self, keywords: Iterable[Keyword], *, strip_punctuation: bool = False) -> None:
        self._strip = strip_punctuation
        self._found: dict[str, list[Hit]] = {}
        self._exact: dict[str, list[Hit]] = {}
        self._patterns: dict[str, Any] = {}
        inside: dict[str, list[tuple[bool, Hit]]] = {}
        regexes: dict[str, list[Hit]] = {}
        for owner, matcher, what in keywords:
            hit = Hit(owner, matcher, what)
            if matcher == REGEX:
                regexes.setdefault(what, []).append(hit)
                continue
            key = self.key(what)
            if not key:
                continue
            if matcher == EXACT:
                self._exact.setdefault(key, []).append(hit)
            else:
                inside.setdefault(key, []).append((matcher == PREFIX, hit))
        self._automaton = _automaton(inside)
        self._sets = _sets(regexes)
        for pattern in regexes:
            self._patterns[pattern] = None

    def key(self, text: str) -> str:
        """A text as it is compared here."""
        folded = normalise(text)
        return without_punctuation(folded) if self._strip else folded

    def find(self, text: str) -> Sequence[Hit]:
        """Everything that is in the text. One owner may be there several times.

        A flood says the same few short texts again and again: what was found in them is remembered.
        """
        known = self._found.get(text)
        if known is not None:
            return known
        hits = self._look(text)
        if len(text) <= SHORT:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            self._found[text] = hits
        return hits

    def _look(self, text: str) -> list[Hit]:
        folded = normalise(text)
        key = without_punctuation(folded) if self._strip else folded
        hits = list(self._exact.get(key, ()))
        if self._automaton is not None:
            for end, (length, found) in self._automaton.iter(key):
                for prefix, hit in found:
                    if not prefix or end + 1 == length:
                        hits.append(hit)
        if self._sets:
            # Patterns see punctuation: they are written with it.
            for together, found in self._sets:
                for index in together.Match(folded) or ():  # None when there is no match
                    hits += found[index]
        return hits

    def any(self, text: str) -> bool:
        """Whether anything at all is in the text."""
        return bool(self.find(text))

    def groups(self, pattern: str, text: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """What the pattern's groups hold in this text: in order, the whole match first, and by name."""
        found = self._compiled(pattern).search(normalise(text))
        if found is None:
            return (), {}
        named = {name: found.group(name) or "" for name in found.re.groupindex}
        return (found.group(0), *(group or "" for group in found.groups())), named

    def _compiled(self, pattern: str) -> Any:
        one = self._patterns.get(pattern)
        if one is None:
            one = self._patterns[pattern] = compiled(pattern)
        return one


def _automaton(inside: Mapping[str, list[tuple[bool, Hit]]]) -> Any:
    if not inside:
        return None
    automaton = ahocorasick.Automaton()
    for key, found in inside.items():
        automaton.add_word(key, (len(key), found))
    automaton.make_automaton()
    return automaton


def _sets(regexes: Mapping[str, list[Hit]]) -> list[tuple[Any, list[list[Hit]]]]:
    sets: list[tuple[Any, list[list[Hit]]]] = []
    patterns = list(regexes)
    for start in range(0, len(patterns), SET_SIZE):
        together = re2.Set.SearchSet(_OPTIONS)
        for pattern in patterns[start : start + SET_SIZE]:
            if len(pattern) > MAX_PATTERN:
                compiled(pattern)  # says what is wrong
            try:
                together.Add(pattern)
            except (re2.error, UnicodeEncodeError):
                compiled(pattern)
                raise
        together.Compile()
        sets.append((together, [regexes[pattern] for pattern in patterns[start : start + SET_SIZE]]))
    return sets
