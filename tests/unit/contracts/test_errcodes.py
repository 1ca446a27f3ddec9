import re

import pytest

from contracts.errcodes import CODES, Fate, explain, fate_of

# The table of WECHAT.md, and the codes that it names as missing from wechatpy.
EXPECTED = {
    Fate.OK: (0, 45065, 45081),
    Fate.RETRY: (-1,),
    Fate.REFRESH_TOKEN: (40001, 40014, 42001),
    Fate.FOLLOWER_GONE: (40003, 43004, 46004, 50005),
    Fate.OTHER_ROAD: (43101, 43117, 45015, 45047),
    Fate.WAIT_MIDNIGHT: (45009,),
    Fate.BACK_OFF: (45011, 45066),
    Fate.FINAL: (45028, 45067, 45072, 45080, 47001, 47003, 40130, 40037, 48001, 48002, 48004, 48008, 50002, 40164),
}


@pytest.mark.parametrize(("fate", "code"), [(fate, code) for fate, codes in EXPECTED.items() for code in codes])
def test_the_platforms_codes_have_their_fates(fate, code):
    assert fate_of(code) is fate


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_explained_in_sentences(code):
    meaning = CODES[code]
    assert re.fullmatch(r"[A-Z].+[.]", meaning.says)
    assert re.fullmatch(r"[A-Z].+[.]", meaning.do)
    assert explain(code) == f"{meaning.says} {meaning.do}"


def test_an_unlisted_code_is_final_and_keeps_its_number():
    assert fate_of(99999) is Fate.FINAL
    assert "99999" in explain(99999)


def test_no_answer_of_wechat_leaves_the_outcome_unknown():
    assert Fate.UNKNOWN not in {meaning.fate for meaning in CODES.values()}
