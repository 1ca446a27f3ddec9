"""``python -m bench.matching``: how long it takes to compile rules, and to find what answers a message.

50,000 keywords and 1,000 regular expressions in 5,100 rules, beside a loop that asks each one by itself,
and beside a bare dictionary, which is what finding an exact keyword costs at the least.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from bench.table import grid
from chassis.textindex import TextIndex
from contracts import wechat
from contracts.content import Text
from contracts.text import normalise
from services.autoreply.engine import Known, decide
from services.autoreply.format import Rule, RuleSetDocument, TextMatch, When
from services.autoreply.lint import lint
from services.autoreply.rulefile import pattern_fault
from services.autoreply.ruleset import compile_ruleset

KEYWORDS, PATTERNS, A_RULE = 50_000, 1_000, 10
SIGNS = "停车票价门园区优惠活动会员退换货发票路线时间天气儿童老人餐饮住宿表演烟花夜场排队快速通道储物柜轮椅宠物拍照"
MESSAGES = 2_000
KNOWN = Known(now=datetime(2026, 11, 24, 4, tzinfo=UTC))


def words(count: int, dice: random.Random) -> list[str]:
    """So many different keywords of three to six characters."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(dice.choices(SIGNS, k=dice.randint(3, 6)))] = None
    return list(found)


def document(keywords: Sequence[str], patterns: Sequence[str]) -> RuleSetDocument:
    reply = Text("好")
    rules = []
    for start in range(0, len(keywords), A_RULE):
        some = tuple(keywords[start : start + A_RULE])
        match = TextMatch(exact=some[:5], contains=some[5:])
        rules.append(Rule(id=f"k{start}", when=When(text=match), reply=reply))
    for start in range(0, len(patterns), A_RULE):
        match = TextMatch(regex=tuple(patterns[start : start + A_RULE]))
        rules.append(Rule(id=f"p{start}", when=When(text=match), reply=reply))
    return RuleSetDocument(version=2, rules=tuple(rules))


def messages(keywords: Sequence[str], dice: random.Random) -> list[wechat.TextMessage]:
    """A third is a keyword, a third holds one, a third has nothing to do with any."""
    texts = []
    for _ in range(MESSAGES):
        kind, word = dice.random(), dice.choice(keywords)
        around = "".join(dice.choices(SIGNS, k=8))
        texts.append(word if kind < 1 / 3 else f"请问{around}{word}怎么办" if kind < 2 / 3 else f"请问{around}呢")
    head = {"to_user_name": "gh_1", "from_user_name": "oA", "create_time": 1, "msg_type": "text"}
    return [wechat.TextMessage(**head, content=text) for text in texts]  # type: ignore[arg-type]  # names to their types


def each(run: Callable[[wechat.TextMessage], object], sample: Sequence[wechat.TextMessage], rounds: int = 5) -> float:
    """Microseconds a message, in the best of some rounds: whatever else the machine does only adds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        for message in sample:
            run(message)
        times.append((time.perf_counter() - started) / len(sample) * 1e6)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.matching", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    dice = random.Random(7)
    keywords = words(KEYWORDS, dice)
    patterns = [f"{keywords[number * 7]}.{{0,4}}第?\\d{{1,{number % 4 + 2}}}[号天]" for number in range(PATTERNS)]
    rules = document(keywords, patterns)
    started = time.perf_counter()
    compiled = compile_ruleset(rules, "1", TextIndex)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    lint(rules, pattern_fault, None)
    checking = time.perf_counter() - started
    sample = messages(keywords, dice)
    small = compile_ruleset(RuleSetDocument(version=2, rules=rules.rules[:20]), "1", TextIndex)
    exact = {normalise(word): word for word in keywords}
    naive = [re.compile(pattern) for pattern in patterns]

    def loop(message: wechat.TextMessage) -> object:
        text = normalise(message.content)
        return next((word for word in keywords if word in text), None) or next(
            (one for one in naive if one.search(text)), None
        )

    found = {
        "compile_seconds": round(seconds, 3),
        "lint_seconds": round(checking, 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "microseconds": {
            "weir": round(each(lambda message: decide(compiled, message, KNOWN), sample), 2),
            "weir, 20 rules": round(each(lambda message: decide(small, message, KNOWN), sample), 2),
            "a loop over all": round(each(loop, sample[:20], 1), 1),
            "a dictionary (limit)": round(each(lambda message: exact.get(normalise(message.content)), sample), 2),
        },
    }
    if given.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    print(f"{KEYWORDS} keywords, {PATTERNS} regular expressions: compiled in {seconds:.2f} s (aim: under 2)")
    print(f"checked by the lint, before publishing only, in {checking:.2f} s")
    print(f"memory of this process, lists of the bench included: {found['peak_mib']} MiB\n")
    rows = [[name, f"{value}"] for name, value in found["microseconds"].items()]  # type: ignore[attr-defined]  # a dict
    print(grid(["to decide about a message", "µs (aim: under 100)"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
