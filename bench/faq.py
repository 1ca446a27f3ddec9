"""`python -m bench.faq`: how often the FAQ is right on questions it was not tuned on, and how fast.

The FAQ holds the operator's phrasings and the followers' questions of the training part; the held-out third is asked.
Precision: of the answers given, how many were right. Recall: of the questions that have an answer in the FAQ, how many
got the right one. Answered: of everything that came, out-of-scope texts too, how much was answered by machine.
"""

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import partial
from hashlib import blake2b
from pathlib import Path

import yaml

from bench.table import grid
from contracts.text import normalise, without_punctuation
from services.autoreply.faq import DEFAULT_THRESHOLD, FaqIndex

SAMPLES = Path(__file__).parents[1] / "tests" / "samples" / "faq" / "zh.yaml"
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FOLDS = 3

Guess = tuple[int, float] | None
"""A pair and how sure it is."""
Way = Callable[[Sequence[Sequence[str]]], Callable[[str], Guess]]
Question = tuple[str, int | None]
"""A text, and the pair that answers it; None when none does."""


@dataclass(frozen=True)
class Labelled:
    """The set in its parts. ``phrasings`` by pair; ``training`` and ``held_out`` with their labels."""

    names: list[str]
    phrasings: list[list[str]]
    training: list[Question]
    held_out: list[Question]

    def pairs(self, known: Sequence[Question]) -> list[list[str]]:
        """The FAQ of an operator who has seen these questions."""
        return [
            [*phrasings, *(text for text, label in known if label == pair)]
            for pair, phrasings in enumerate(self.phrasings)
        ]


@dataclass(frozen=True)
class Line:
    """One way at one threshold."""

    way: str
    threshold: float
    precision: float
    recall: float
    answered: float
    wrong: int


def is_held_out(text: str) -> bool:
    """One of three texts, by a hash that is the same on every machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % 3 == 0


def read(path: Path = SAMPLES) -> Labelled:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    intents = document["intents"]
    everything: list[Question] = [
        (text, pair) for pair, intent in enumerate(intents.values()) for text in intent["questions"]
    ]
    everything += [(text, None) for text in document["out_of_scope"]]
    return Labelled(
        list(intents),
        [intent["phrasings"] for intent in intents.values()],
        [question for question in everything if not is_held_out(question[0])],
        [question for question in everything if is_held_out(question[0])],
    )


def similarity(pairs: Sequence[Sequence[str]]) -> Callable[[str], Guess]:
    """What Weir does."""
    index = FaqIndex(pairs)

    def guess(text: str) -> Guess:
        hits = index.best(text, 1)
        return (hits[0].pair, hits[0].score) if hits else None

    return guess


def ratio(pairs: Sequence[Sequence[str]]) -> Callable[[str], Guess]:
    """The most alike phrasing by the standard library's difflib."""
    known = [(pair, _plain(question)) for pair, questions in enumerate(pairs) for question in questions]

    def guess(text: str) -> Guess:
        matcher = SequenceMatcher(b=_plain(text), autojunk=False)
        best: Guess = None
        for pair, question in known:
            matcher.set_seq1(question)
            score = matcher.ratio()
            if best is None or score > best[1]:
                best = (pair, score)
        return best

    return guess


def keywords(pairs: Sequence[Sequence[str]]) -> Callable[[str], Guess]:
    """Keyword rules: a known question that is the text, else the longest one that is in it."""
    known = sorted(
        ((_plain(question), pair) for pair, questions in enumerate(pairs) for question in questions),
        key=lambda one: -len(one[0]),
    )

    def guess(text: str) -> Guess:
        plain = _plain(text)
        return next(((pair, 1.0) for question, pair in known if question in plain), None)

    return guess


def _plain(text: str) -> str:
    return without_punctuation(normalise(text))


def measure(way: str, guesses: Sequence[Guess], questions: Sequence[Question], threshold: float) -> Line:
    given = [
        (guess[0], label)
        for guess, (_, label) in zip(guesses, questions, strict=True)
        if guess and guess[1] >= threshold
    ]
    right = sum(pair == label for pair, label in given)
    answerable = sum(label is not None for _, label in questions)
    return Line(
        way,
        threshold,
        right / len(given) if given else 1.0,
        right / answerable,
        len(given) / len(questions),
        len(given) - right,
    )


def held_out(labelled: Labelled) -> list[Line]:
    """Every way on the held-out third."""
    return _lines(lambda way: _asked(way, labelled.pairs(labelled.training), labelled.held_out))


def training(labelled: Labelled) -> list[Line]:
    """The same within the training part: each third of it is asked of an FAQ that has seen the other two."""
    return _lines(partial(_in_folds, labelled))


def _lines(ask: Callable[[Way], tuple[list[Guess], list[Question]]]) -> list[Line]:
    lines = []
    for name, way, thresholds in (
        ("weir", similarity, THRESHOLDS),
        ("difflib ratio", ratio, THRESHOLDS),
        ("keyword rules", keywords, (1.0,)),
    ):
        guesses, questions = ask(way)
        lines += [measure(name, guesses, questions, threshold) for threshold in thresholds]
    return lines


def _asked(way: Way, pairs: Sequence[Sequence[str]], questions: list[Question]) -> tuple[list[Guess], list[Question]]:
    guess = way(pairs)
    return [guess(text) for text, _ in questions], questions


def _in_folds(labelled: Labelled, way: Way) -> tuple[list[Guess], list[Question]]:
    guesses: list[Guess] = []
    questions: list[Question] = []
    for fold in range(FOLDS):
        known = [one for place, one in enumerate(labelled.training) if place % FOLDS != fold]
        asked = labelled.training[fold::FOLDS]
        guesses += _asked(way, labelled.pairs(known), asked)[0]
        questions += asked
    return guesses, questions


@dataclass(frozen=True)
class Speed:
    pairs: int
    phrasings: int
    build_seconds: float
    median_microseconds: float
    p99_microseconds: float
    mebibytes: float


def speed() -> Speed:
    """1,000 pairs with five phrasings each, asked 2,000 times. In CPU time, so that others at work do not count."""
    pairs = made_pairs()
    asked = [text for questions in pairs for text in (f"请问一下{questions[0]}", f"{questions[3]}谢谢")]
    begun = time.thread_time()
    index = FaqIndex(pairs)
    built = time.thread_time() - begun
    times = []
    for text in asked:
        begun = time.thread_time()
        index.best(text)
        times.append(time.thread_time() - begun)
    times.sort()
    del index
    tracemalloc.start()
    held = FaqIndex(pairs)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held.best(pairs[0][0])[0].pair == 0
    return Speed(
        len(pairs),
        sum(map(len, pairs)),
        built,
        times[len(times) // 2] * 1e6,
        times[int(len(times) * 0.99)] * 1e6,
        size / 2**20,
    )


_THINGS = (  # noqa: SIM905  # fifty words read better so
    "过山车 旋转木马 摩天轮 鬼屋 水上乐园 海洋馆 动物园 植物园 滑雪场 温泉 年卡 季卡 儿童乐园 "
    "跳楼机 大摆锤 碰碰车 漂流 小火车 缆车 观光车 餐厅 咖啡馆 纪念品店 玩具店 书店 电影院 "
    "剧场 博物馆 展览馆 游泳馆 酒店 民宿 露营地 烧烤区 停车场 接驳车 婴儿车 轮椅 储物柜 "
    "充电宝 雨衣 拖鞋 泳衣 望远镜 讲解器 玩偶 水杯 T恤 帽子 雨伞"
).split()
_ASPECTS = (
    ("多少钱", "价格", "怎么收费", "贵不贵", "费用是多少"),
    ("在哪里", "位置", "怎么走", "在哪个方向", "具体地点"),
    ("几点开始", "开始时间", "什么时候开", "几时开放", "开放时刻"),
    ("几点结束", "结束时间", "什么时候关", "最晚到几点", "关闭时刻"),
    ("要预约吗", "预约方式", "怎么提前预定", "需要提前订吗", "如何预订"),
    ("有优惠吗", "打折", "优惠活动", "便宜一点", "折扣信息"),
    ("可以退吗", "退款", "怎么退钱", "退费规则", "不要了能退吗"),
    ("小孩能用吗", "儿童限制", "多大的孩子可以", "年龄要求", "身高要求"),
    ("坏了怎么办", "出故障", "不能用了", "维修", "有问题找谁"),
    ("要排队多久", "排队时间", "等多长时间", "人多吗", "等候时长"),
    ("下雨开吗", "雨天安排", "天气不好会停吗", "暴雨停运", "雷雨影响"),
    ("能带宠物吗", "宠物规定", "带狗可以吗", "猫能去吗", "宠物寄存"),
    ("有发票吗", "开票", "怎么开发票", "电子发票", "发票抬头"),
    ("可以拍照吗", "摄影规定", "能不能拍视频", "拍照收费", "合影"),
    ("丢东西了", "失物", "遗失物品", "找回东西", "落下了包"),
    ("电话是多少", "联系方式", "客服电话", "怎么联系", "咨询热线"),
    ("老人能玩吗", "老年人优惠", "六十岁以上", "老人注意事项", "老年票"),
    ("需要带什么", "准备物品", "携带要求", "注意事项", "要穿什么"),
    ("能刷卡吗", "支付方式", "微信支付", "现金可以吗", "支付宝"),
    ("什么时候开业", "新开项目", "施工到何时", "维护日期", "恢复时间"),
)


def made_pairs() -> list[list[str]]:
    """1,000 pairs that share most of their words with others: the worst that an index can meet."""
    return [[thing + words for words in aspect] for thing in _THINGS for aspect in _ASPECTS]


def render(lines: Sequence[Line], fast: Speed | None) -> str:
    head = ("way", "threshold", "precision", "recall", "answered", "wrong")
    rows = [
        (
            line.way,
            f"{line.threshold:.1f}{' (default)' if (line.way, line.threshold) == ('weir', DEFAULT_THRESHOLD) else ''}",
            f"{line.precision:.1%}",
            f"{line.recall:.1%}",
            f"{line.answered:.1%}",
            str(line.wrong),
        )
        for line in lines
    ]
    table = grid(head, rows, left=2)
    if fast is None:
        return table
    return (
        f"{table}\n\n{fast.pairs:,} pairs, {fast.phrasings:,} phrasings: built in {fast.build_seconds:.2f} s of CPU,"
        f" {fast.mebibytes:.0f} MiB; a question takes {fast.median_microseconds:.0f} microseconds of CPU (median),"
        f" {fast.p99_microseconds:.0f} (p99)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faq", description=__doc__)
    parser.add_argument("--training", action="store_true", help="measure within the training part, as for tuning")
    parser.add_argument("--json", action="store_true", help="print everything measured as JSON in place of the table")
    options = parser.parse_args(arguments)
    labelled = read()
    lines = training(labelled) if options.training else held_out(labelled)
    fast = None if options.training else speed()
    if options.json:
        counts = {"intents": len(labelled.names), "training": len(labelled.training), "asked": len(labelled.held_out)}
        run = {"set": counts, "default": DEFAULT_THRESHOLD, "lines": [asdict(line) for line in lines]}
        print(json.dumps({**run, "speed": fast and asdict(fast)}, ensure_ascii=False, indent=2))
    else:
        print(render(lines, fast))
    return 0


if __name__ == "__main__":
    sys.exit(main())
