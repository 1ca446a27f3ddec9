"""Texts as they are compared: one normalisation for rules, lanes and search, so that all of them mean the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

EXACT, PREFIX, CONTAINS, REGEX = "exact", "prefix", "contains", "regex"

Keyword = tuple[int, str, str]
"""Whose it is, how it is matched, and the keyword or pattern as its author wrote it."""


class Hit(NamedTuple):
    """``owner`` has a keyword or pattern (its ``what``) that is in the text."""

    owner: int
    matcher: str
    what: str


class Texts(Protocol):
    """Many keywords and patterns, searched for in one text at once."""

    def find(self, text: str) -> Sequence[Hit]: ...

    def key(self, text: str) -> str: ...

    def groups(self, pattern: str, text: str) -> tuple[tuple[str, ...], Mapping[str, str]]: ...


def normalise(text: str) -> str:
    """Compatibility forms, width and case folded, outer white space gone. Doing it twice changes nothing."""
    if text.isascii():
        return text.strip().lower()
    # Folding can give characters that have a compatibility form of their own, and the other way round.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def without_punctuation(text: str) -> str:
    """The text without punctuation, symbols and white space: ``你好！`` and ``你 好`` are both ``你好``."""
    if text.isalnum():
        return text
    return "".join(character for character in text if unicodedata.category(character)[0] not in "PSZC")
