"""Thousands of keywords and patterns at once find what a naive search finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.textindex import PatternError, TextIndex, compiled
from contracts.text import CONTAINS, EXACT, PREFIX, REGEX, normalise, without_punctuation

words = st.text(alphabet="ab停车場Ａ！ ", max_size=4)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert without_punctuation(without_punctuation(text)) == without_punctuation(text)


@given(
    st.lists(st.tuples(st.sampled_from([EXACT, PREFIX, CONTAINS]), words), max_size=12),
    words.map(lambda w: w * 2),
    st.booleans(),
)
def test_the_index_equals_a_naive_search(keywords: list[tuple[str, str]], text: str, strip: bool) -> None:
    index = TextIndex([(number, *keyword) for number, keyword in enumerate(keywords)], strip_punctuation=strip)

    def key(word: str) -> str:
        return without_punctuation(normalise(word)) if strip else normalise(word)

    def there(matcher: str, word: str) -> bool:
        if not word:
            return False
        return {EXACT: word == key(text), PREFIX: key(text).startswith(word), CONTAINS: word in key(text)}[matcher]

    naive = {number for number, (matcher, word) in enumerate(keywords) if there(matcher, key(word))}
    assert {hit.owner for hit in index.find(text)} == naive


def test_a_thousand_patterns_are_searched_as_each_by_itself() -> None:
    patterns = [f"^w{number}[a-z]*\\d{{2}}$" for number in range(1000)] + ["x+y", "停.?车"]
    index = TextIndex([(number, REGEX, pattern) for number, pattern in enumerate(patterns)])
    for text in ("w7abc12", "W999q00", "axxy", "停一车", "nothing"):
        alone = {number for number, pattern in enumerate(patterns) if compiled(pattern).search(normalise(text))}
        assert {hit.owner for hit in index.find(text)} == alone


def test_a_pattern_that_would_blow_up_elsewhere_does_not() -> None:
    index = TextIndex([(0, REGEX, "^(a+)+$")])
    assert index.find("a" * 2000 + "b") == []
    assert index.find("a" * 2000)[0].owner == 0


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "[z-a]", "a{2000}", "a" * 1001, r"\1"])
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(PatternError):
        compiled(pattern)
    with pytest.raises(PatternError):
        TextIndex([(0, REGEX, pattern)])


def test_groups() -> None:
    index = TextIndex([(0, REGEX, "订单(?P<number>\\d+)(x)?")])
    assert index.groups("订单(?P<number>\\d+)(x)?", "我的订单１２") == (("订单12", "12", ""), {"number": "12"})
