"""The nearest known question: what is near, what is not, and that the quick way finds what the plain way finds."""

from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.autoreply.faq import FAINT, FaqIndex, runs
from services.autoreply.wording import bare

PAIRS = [
    ["门票多少钱", "票价", "成人票价格"],
    ["几点开门", "营业时间"],
    ["停车场在哪里", "停车费多少钱"],
    ["可以退票吗", "退票手续费"],
    ["有免费wifi吗"],
]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("门票多少钱", 0),
        ("你好，请问门票要多少钱呢？", 0),
        ("門票幾多錢", 0),  # traditional characters and a Cantonese how-much
        ("ticket多少钱啊", 0),
        ("几点开门呀", 1),
        ("停車場喺邊度", 2),
        ("能退票不", 3),
        ("ＷｉＦｉ", 4),  # full width
    ],
)
def test_the_nearest_question_is_found_however_it_is_written(text: str, pair: int) -> None:
    assert FaqIndex(PAIRS).best(text)[0].pair == pair


def test_the_same_wording_scores_one_and_names_the_phrasing() -> None:
    hit = FaqIndex(PAIRS).best("请问停车费多少钱？")[0]
    assert (hit.pair, hit.question, hit.score) == (2, "停车费多少钱", 1.0)


def test_words_that_no_question_has_count_against_a_text() -> None:
    index = FaqIndex(PAIRS)
    assert index.best("医院几点开门")[0].score < index.best("几点开门呢")[0].score


@pytest.mark.parametrize("text", ["", "。。。", "谢谢", "asdfgh", "🙂🙂"])
def test_what_shares_nothing_is_near_to_nothing(text: str) -> None:
    assert FaqIndex(PAIRS).best(text) == []


def test_a_pair_comes_once_and_no_more_come_than_are_asked_for() -> None:
    hits = FaqIndex(PAIRS).best("停车多少钱", 2)
    assert [hit.pair for hit in hits] == [2, 0]
    assert hits[0].score >= hits[1].score


def test_a_greeting_can_be_a_question_of_the_faq() -> None:
    assert FaqIndex([["你好"], ["停车"]]).best("你好！")[0] == (0, "你好", 1.0)


def test_an_empty_faq_knows_nothing() -> None:
    assert FaqIndex([]).best("门票") == []


def test_a_question_put_twice_changes_nothing_for_the_others() -> None:
    assert FaqIndex([*PAIRS[:1], [*PAIRS[1], "营业时间"], *PAIRS[2:]]).best("营业到几点") == FaqIndex(PAIRS).best(
        "营业到几点"
    )


_TEXT = st.text(alphabet="门票停车开退多少钱几点哪里wifi 吗?", min_size=1, max_size=9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(_TEXT, min_size=1, max_size=3), min_size=70, max_size=120), _TEXT)
def test_leaving_postings_unread_changes_no_score(pairs: list[list[str]], text: str) -> None:
    index = FaqIndex(pairs)
    asked = index._vector(runs(bare(text)))
    plain = [
        max(sum(asked.get(run, 0) * weight for run, weight in index._vector(runs(bare(q))).items()) for q in questions)
        for questions in pairs
    ]
    expected = [score for score in sorted(plain, reverse=True)[:3] if score >= FAINT]
    found = index.best(text)
    assert all(isclose(hit.score, score, abs_tol=1e-4) for hit, score in zip(found, expected, strict=True))
    assert all(isclose(hit.score, plain[hit.pair], abs_tol=1e-4) for hit in found)
