"""The known question that a text comes nearest to, by the characters they share. Pure; no word list, no model.

A text is the set of its runs of one, two and three characters, each weighing the more the fewer pairs have it. Two
texts are as near as their sets point the same way (the cosine): 1 is the same wording, 0 nothing in common. Runs that
no known question has count against a text, else "the hospital's opening hours" would be as near as "opening hours". The
weights did best on the training part of the labelled set; ``docs/faq.md`` has what came of them on the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import nlargest
from math import log, sqrt
from operator import itemgetter
from typing import NamedTuple

from services.autoreply.wording import bare

WEIGHTS = (1.0, 0.5, 0.3)
"""Of runs of one, two and three characters."""
RARITY = 1.25
"""Power of the inverse frequency: what few pairs have says what a question is about."""
UNKNOWN = 0.5
"""Weight of a run that no pair has, as a part of the rarest one's."""
DEFAULT_THRESHOLD = 0.5
"""Score from which an answer is given: on the training part 19 of 20 answers were right."""
FAINT = 0.1
"""A score below this says nothing; such a question is no help to a person either."""
MAX_CHARACTERS = 200
"""Of a text that are looked at. A longer one is a story, and near to nothing."""
_LONG = 150
"""Postings from which it pays to find out whether they can be left unread."""


class Near(NamedTuple):
    """``pair`` is the number of the pair, ``question`` the phrasing that comes nearest, ``score`` from 0 to 1."""

    pair: int
    question: str
    score: float


class FaqIndex:
    """Questions by pair: ``FaqIndex([["营业时间", "几点开门"], ["停车"]])``."""

    def __init__(self, pairs: Sequence[Sequence[str]]) -> None:
        self._questions = [(pair, question) for pair, questions in enumerate(pairs) for question in questions]
        found = [runs(bare(question)) for _, question in self._questions]
        # A run is as rare as the pairs are that have it, however often one pair repeats it in its phrasings.
        having: dict[str, set[int]] = defaultdict(set)
        for (pair, _), those in zip(self._questions, found, strict=True):
            for run in those:
                having[run].add(pair)
        total = len(pairs) + 1
        self._rarity = {run: log(total / len(owners)) ** RARITY for run, owners in having.items()}
        self._unknown = log(total) ** RARITY * UNKNOWN
        self._vectors = [self._vector(those) for those in found]
        self._postings: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        """For each run the phrasings that have it, and its weight in each."""
        for number, vector in enumerate(self._vectors):
            for run, weight in vector.items():
                numbers, weights = self._postings[run]
                numbers.append(number)
                weights.append(weight)
        self._peaks = {run: max(weights) for run, (_, weights) in self._postings.items()}

    def best(self, text: str, count: int = 3) -> list[Near]:
        """The nearest pairs, the nearest first, each with its nearest phrasing; fewer when nothing else is near."""
        asked = self._vector(runs(bare(text[:MAX_CHARACTERS])))
        # The rare runs first: their postings are short, and most of the score is theirs.
        terms = sorted(
            (len(self._postings[run][0]), run, weight) for run, weight in asked.items() if run in self._peaks
        )
        left = sum(weight * self._peaks[run] for _, run, weight in terms)
        scores: dict[int, float] = defaultdict(float)
        enough = FAINT
        done = 0
        for length, run, weight in terms:
            # Whoever is not found by now, and could only get what is left, comes behind the best: no need to read on.
            if length > _LONG and scores and left < max(scores.values()):
                enough = self._score_of(count, scores)
                if left < enough:
                    break
            for number, other in zip(*self._postings[run], strict=True):
                scores[number] += weight * other
            left -= weight * self._peaks[run]
            done += 1
        nearest = self._completed(scores, terms[done:], left, enough, count)
        ranked = sorted((-score, number) for number, score in nearest.values())[:count]
        return [
            Near(*self._questions[number], round(min(1.0, -score), 4)) for score, number in ranked if -score >= FAINT
        ]

    def _completed(
        self, scores: dict[int, float], terms: list[tuple[int, str, float]], left: float, enough: float, count: int
    ) -> dict[int, tuple[int, float]]:
        """The nearest phrasing of each pair, with what the unread terms add, for those who can be among the best."""
        if not terms:
            return self._by_pair(scores)
        nearest: dict[int, tuple[int, float]] = {}
        for number, score in sorted(scores.items(), key=itemgetter(1), reverse=True):
            if score + left < enough:
                break
            vector = self._vectors[number]
            whole = score + sum(weight * vector.get(run, 0.0) for _, run, weight in terms)
            pair = self._questions[number][0]
            if pair not in nearest or (-whole, number) < (-nearest[pair][1], nearest[pair][0]):
                nearest[pair] = (number, whole)
                if len(nearest) >= count and whole > enough:
                    enough = max(enough, nlargest(count, (other for _, other in nearest.values()))[-1])
        return nearest

    def _score_of(self, place: int, scores: dict[int, float]) -> float:
        """What the pair in this place has at least, going by what is known up to now."""
        best = nlargest(place, (score for _, score in self._by_pair(scores).values()))
        return max(FAINT, best[-1]) if len(best) == place else FAINT

    def _by_pair(self, scores: dict[int, float]) -> dict[int, tuple[int, float]]:
        """The nearest phrasing of each pair and its score."""
        nearest: dict[int, tuple[int, float]] = {}
        for number, score in scores.items():
            pair = self._questions[number][0]
            if pair not in nearest or (-score, number) < (-nearest[pair][1], nearest[pair][0]):
                nearest[pair] = (number, score)
        return nearest

    def _vector(self, found: set[str]) -> dict[str, float]:
        weights = {run: WEIGHTS[len(run) - 1] * self._rarity.get(run, self._unknown) for run in found}
        length = sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {run: weight / length for run, weight in weights.items()}


def runs(text: str) -> set[str]:
    """The runs of one, two and three characters of a text. A single Latin letter says nothing and is left out."""
    singles = {character for character in text if not (character.isascii() and character.isalpha())}
    return singles.union(text[at : at + size] for size in (2, 3) for at in range(len(text) - size + 1))
