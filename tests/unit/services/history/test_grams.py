from hypothesis import given
from hypothesis import strategies as st

from services.history.grams import MAX_GRAMS, bucket, grams, normal, places, postings, sought

letters = st.text(st.sampled_from("报名怎么操作aＢ ß"), max_size=12)


@given(letters, letters, letters)
def test_a_text_with_the_phrase_has_every_gram_that_is_sought(before: str, phrase: str, after: str) -> None:
    text = normal(before) + normal(phrase) + normal(after)
    if phrase:
        assert set(sought(normal(phrase))) <= grams(text)


@given(st.lists(letters, max_size=30))
def test_postings_hold_exactly_the_texts_that_have_a_gram(texts: list[str]) -> None:
    packed = postings(texts)
    for gram in {gram for text in texts for gram in grams(normal(text))} | {"不"}:
        expected = [place for place, text in enumerate(texts) if gram in grams(normal(text))]
        assert list(places(packed.get(bucket(gram), b"\x80"), gram)) == expected


def test_full_width_and_case_are_one() -> None:
    assert normal("ＡＢＣ１２３ Straße") == "abc123 strasse"


def test_of_a_long_phrase_a_few_grams_are_looked_up() -> None:
    phrase = "".join(chr(0x4E00 + n) for n in range(64))
    found = sought(phrase)
    assert len(found) == MAX_GRAMS
    assert (found[0], found[-1]) == (phrase[:2], phrase[-2:])
    assert sought("报") == ["报"]
    assert sought("报名报名") == ["报名", "名报"]
