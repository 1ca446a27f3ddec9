"""The question of the FAQ that a text comes nearest to, by the characters they share. Pure; offline; no model.

A text is a bag of runs of one, two and three characters, each weighing more the fewer questions have it. Two texts are
as near as their bags point the same way (the cosine): 1 is the same wording, 0 is nothing in common.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.autoreply.wording import bare

WEIGHTS = (0.5, 1.0, 1.0)
OOV = 1.0
POWER = 1.0
PAIR_IDF = True
CENTROID = 0.0
WORDING: Callable[[str], str] = bare


@dataclass(frozen=True)
class FaqPair:
    id: str
    questions: tuple[str, ...]


class Hit(NamedTuple):
    index: int
    question: str
    score: float


def grams(text: str) -> Counter[str]:
    c: Counter[str] = Counter()
    for n in (1, 2, 3):
        for i in range(len(text) - n + 1):
            g = text[i : i + n]
            if n == 1 and g.isascii() and g.isalpha():
                continue
            c[g] += 1
    return c


class FaqIndex:
    def __init__(self, pairs: Sequence[FaqPair]) -> None:
        self.q = [(i, q, grams(WORDING(q))) for i, p in enumerate(pairs) for q in p.questions]
        df: Counter[str] = Counter()
        if PAIR_IDF:
            seen = defaultdict(set)
            for i, _, g in self.q:
                for k in g:
                    seen[k].add(i)
            df = Counter({k: len(v) for k, v in seen.items()})
            n = len(pairs)
        else:
            for _, _, g in self.q:
                df.update(g.keys())
            n = len(self.q)
        self.idf = {k: math.log((n + 1) / v) for k, v in df.items()}
        self.top = math.log(n + 1)
        self.post: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.cent: list[dict[str, float]] = [defaultdict(float) for _ in pairs]
        for j, (i, _, g) in enumerate(self.q):
            v = self.vec(g)
            for k, w in v.items():
                self.post[k].append((j, w))
                self.cent[i][k] += w
        for c in self.cent:
            norm = math.sqrt(sum(w * w for w in c.values())) or 1
            for k in c:
                c[k] /= norm

    def vec(self, g: Counter[str]) -> dict[str, float]:
        v = {k: WEIGHTS[len(k) - 1] * self.idf.get(k, self.top * OOV) * (1 + math.log(c)) for k, c in g.items()}
        norm = math.sqrt(sum(w * w for w in v.values())) or 1
        return {k: w / norm for k, w in v.items()}

    def best(self, text: str, n: int = 3) -> list[Hit]:
        v = self.vec(grams(WORDING(text)))
        s: dict[int, float] = defaultdict(float)
        for k, w in v.items():
            for j, x in self.post.get(k, ()):
                s[j] += w * x
        b: dict[int, tuple[float, str]] = {}
        for j, x in s.items():
            i, q, _ = self.q[j]
            if x > b.get(i, (0, ""))[0]:
                b[i] = (x, q)
        if CENTROID:
            for i in b:
                c = sum(w * self.cent[i].get(k, 0) for k, w in v.items())
                b[i] = ((1 - CENTROID) * b[i][0] + CENTROID * c, b[i][1])
        top = sorted(((x, i, q) for i, (x, q) in b.items()), key=lambda t: (-t[0], t[1]))[:n]
        return [Hit(i, q, min(1.0, x**POWER)) for x, i, q in top]
