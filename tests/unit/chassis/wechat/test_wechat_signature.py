import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.wechat.signature import FRESH_SECONDS, Freshness, age, callback_signature, freshness, verify

# WeChat's page "Message encryption and decryption"
TOKEN, TIMESTAMP, NONCE = "AAAAA", "1714037059", "486452656"
SIGNATURE = "899cf89e464efb63f54ddac96b0a0a235f53aa78"


def test_the_official_vector_of_a_url_check():
    assert callback_signature(TOKEN, TIMESTAMP, NONCE) == SIGNATURE
    assert verify(TOKEN, TIMESTAMP, NONCE, given=SIGNATURE)


def test_parts_are_sorted_as_bytes_and_joined_without_separator():
    assert callback_signature("b", "a", "c", "Encrypt") == hashlib.sha1(b"Encryptabc").hexdigest()


@pytest.mark.parametrize(
    "given_signature",
    ["", SIGNATURE[:-1], SIGNATURE + "0", SIGNATURE.upper(), "é" * 40, "\ud800", "0" * 40, SIGNATURE[:-1] + "9"],
)
def test_anything_else_is_refused_without_raising(given_signature):
    assert verify(TOKEN, TIMESTAMP, NONCE, given=given_signature) is False


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_no_input_raises(token, timestamp, nonce, encrypt, signature):
    assert verify(token, timestamp, nonce, encrypt, given=signature) is False
    assert verify(token, timestamp, nonce, encrypt, given=callback_signature(nonce, encrypt, token, timestamp))


@pytest.mark.parametrize(
    ("seconds_old", "verdict"),
    [
        (0, Freshness.FRESH),
        (FRESH_SECONDS, Freshness.FRESH),
        (FRESH_SECONDS + 1, Freshness.STALE),
        (-FRESH_SECONDS, Freshness.FRESH),
        (-FRESH_SECONDS - 1, Freshness.FUTURE),
    ],
)
def test_the_window_is_five_minutes_either_way(seconds_old, verdict):
    assert freshness(TIMESTAMP, int(TIMESTAMP) + seconds_old) is verdict


@pytest.mark.parametrize("timestamp", ["", "abc", "-1", "1.5", " 1", "１７１４", "9" * 5000, "0x10"])
def test_what_is_no_time_is_malformed(timestamp):
    assert freshness(timestamp, 1714037059.0) is Freshness.MALFORMED
    assert age(timestamp, 1714037059.0) is None


def test_age_tells_the_skew():
    assert age("100", 160.5) == 60.5
    assert age("160", 100.0) == -60
