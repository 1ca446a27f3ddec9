"""One thing that is wrong with a rule set, and how the parts of the lint tell of it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from contracts.text import normalise, without_punctuation
from services.autoreply.format import RuleSetDocument

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """``path`` leads to the field in the document. ``rule`` is empty for what belongs to none."""

    path: Path
    rule: str
    reason: str
    fix: str

    @property
    def sentence(self) -> str:
        whose = f"rule {self.rule!r}: " if self.rule else ""
        return f"{whose}{self.reason}" + (f"; {self.fix}" if self.fix else "")


Say = Callable[..., None]
CheckPattern = Callable[[str], str]
"""What is wrong with a pattern, in words; empty when nothing is."""


def key_of(word: str, document: RuleSetDocument) -> str:
    """A keyword as it is compared."""
    key = normalise(word)
    return without_punctuation(key) if document.strip_punctuation else key


def readable(read: Callable[[str], object], text: str, path: Path, say: Say) -> bool:
    """Whether a text is what it should be; if not, that is told."""
    try:
        read(text)
    except ValueError as error:
        say(path, *split(str(error)))
        return False
    return True


def split(sentence: str) -> tuple[str, str]:
    reason, _, fix = sentence.partition("; ")
    return reason, fix
