"""The quick reading of a query is the standard library's."""

from urllib.parse import parse_qsl, urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.border import read_query

WORDS = st.text(min_size=1, max_size=12)


@given(st.dictionaries(WORDS, st.text(max_size=12), min_size=1, max_size=6))
@example({"signature": "a" * 40, "timestamp": "1714037059", "nonce": "486452656", "openid": "o9AgO5Kd5ggOC-bXrb"})
@example({"echostr": "a+b/c=="})
def test_what_is_encoded_comes_back(parameters: dict[str, str]) -> None:
    assert read_query("/wechat/demo?" + urlencode(parameters)) == parameters


@given(st.text(alphabet="abc=&%+2", max_size=30))
def test_any_query_reads_as_the_standard_library_does(query: str) -> None:
    known = {name: value for name, value in read_query("/w?" + query).items() if name}
    assert known == {name: value for name, value in parse_qsl(query, keep_blank_values=True) if name}


def test_no_query_is_no_parameter() -> None:
    assert not any(read_query("/wechat/demo").values())
