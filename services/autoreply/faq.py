"""The best answer to a question by how much of its characters it shares with known questions. Pure.

Character n-grams need no word list and no model, survive typing errors, and mean the same on every machine. Rare ones
count more than common ones; what questions share out of politeness counts nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

from contracts.text import normalise, without_punctuation

SIZES = (1, 2, 3)
WEIGHTS = {1: 0.35, 2: 1.0, 3: 1.0}
POLITE = re.compile(
    "请问一下|我想问一下|想问一下|问一下|请问|想问|咨询一下|咨询|你好|您好|麻烦|谢谢|在吗|亲|"
    "你们那里|你们这里|你们那边|你们这边|你们|这边|那边|一下|我想知道|想知道|知道|可不可以|能不能|可以|能否|"
    "是不是|有没有|怎么样|的话|[吗呢啊呀哦吧嘛哈的了么]"
)


class Near(NamedTuple):
    """``pair`` is the number of the pair, ``question`` the phrasing that comes nearest, ``score`` from 0 to 1."""

    pair: int
    question: str
    score: float


def essence(text: str) -> str:
    """What is left of a question to compare: without politeness, punctuation and case."""
    bare = without_punctuation(normalise(text))
    return POLITE.sub("", bare) or bare


def grams(text: str) -> Counter[str]:
    return Counter(text[at : at + size] for size in SIZES for at in range(len(text) - size + 1))


class FaqIndex:
    """Questions by pair: ``FaqIndex([["营业时间", "几点开门"], ["停车"]])``."""

    def __init__(self, pairs: Sequence[Sequence[str]]) -> None:
        self._questions = [(pair, question) for pair, questions in enumerate(pairs) for question in questions]
        counted = [grams(essence(question)) for _, question in self._questions]
        # A gram is as rare as the pairs are that have it, however often one pair repeats it in its phrasings.
        having: dict[str, set[int]] = defaultdict(set)
        for (pair, _), found in zip(self._questions, counted, strict=True):
            for gram in found:
                having[gram].add(pair)
        total = max(1, len(pairs))
        self._idf = {gram: log(1 + total / len(owners)) for gram, owners in having.items()}
        self._unseen = log(1 + total)
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._exact: dict[str, int] = {}
        for number, found in enumerate(counted):
            vector = self._vector(found)
            norm = sqrt(sum(weight * weight for weight in vector.values())) or 1.0
            for gram, weight in vector.items():
                self._postings[gram].append((number, weight / norm))
            self._exact.setdefault(essence(self._questions[number][1]), number)

    def best(self, text: str, count: int = 3) -> list[Near]:
        """The nearest pairs, the nearest first, each with its nearest phrasing; fewer when nothing else is near."""
        asked = essence(text)
        vector = self._vector(grams(asked))
        norm = sqrt(sum(weight * weight for weight in vector.values())) or 1.0
        scores: dict[int, float] = defaultdict(float)
        for gram, weight in vector.items():
            for number, other in self._postings.get(gram, ()):
                scores[number] += weight * other / norm
        if (same := self._exact.get(asked)) is not None:
            scores[same] = 1.0
        by_pair: dict[int, tuple[float, int]] = {}
        for number, score in scores.items():
            pair = self._questions[number][0]
            if score > by_pair.get(pair, (0.0, 0))[0]:
                by_pair[pair] = (score, number)
        ranked = sorted(((-score, number) for score, number in by_pair.values()))[:count]
        return [Near(*self._questions[number], round(min(1.0, -score), 4)) for score, number in ranked]

    def _vector(self, found: Counter[str]) -> dict[str, float]:
        return {
            gram: (1 + log(times)) * self._idf.get(gram, self._unseen) * WEIGHTS[len(gram)]
            for gram, times in found.items()
        }
