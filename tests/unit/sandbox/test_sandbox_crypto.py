"""The platform's published encryption vectors, and what a wrong ciphertext says."""

import base64
import json

import pytest
from wechatpy.crypto import WeChatCrypto

from sandbox.crypto import CryptoError, aes_key_bytes, decrypt, encrypt, sign

KEY = aes_key_bytes("A" * 43)
APPID = "wxba5fad812f8e6fb9"
SEALED = (
    "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT"
    "740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8Y"
    "L/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
)


def test_the_official_signature() -> None:
    assert sign("AAAAA", "1714037059", "486452656") == "899cf89e464efb63f54ddac96b0a0a235f53aa78"


def test_the_official_message_signature_and_message() -> None:
    assert sign("AAAAA", "1714112445", "415670741", SEALED) == "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"
    message = json.loads(decrypt(SEALED, KEY, APPID))
    assert message["Event"] == "debug_demo"
    assert message["debug_str"] == "hello world"


def test_the_official_reply() -> None:
    sealed = encrypt(b'{"demo_resp":"good luck"}', KEY, APPID, b"707722b803182950")
    assert sealed == "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 31, 32, 33, 5000])
def test_every_padding_length_opens_again(length: int) -> None:
    message = b"x" * length
    assert decrypt(encrypt(message, KEY, APPID), KEY, APPID) == message


def test_another_implementation_reads_ours_and_we_read_its() -> None:
    crypto = WeChatCrypto("AAAAA", "A" * 43, APPID)
    sealed = encrypt("<xml>你好</xml>".encode(), KEY, APPID)
    envelope = f"<xml><Encrypt>{sealed}</Encrypt></xml>"
    assert crypto.decrypt_message(envelope, sign("AAAAA", "1", "2", sealed), "1", "2") == "<xml>你好</xml>"
    theirs = crypto.encrypt_message("<xml>回复</xml>", "2", "1")
    inner = theirs.split("<Encrypt><![CDATA[")[1].split("]]>")[0]
    assert decrypt(inner, KEY, APPID).decode() == "<xml>回复</xml>"


@pytest.mark.parametrize(
    ("sealed", "words"),
    [
        ("not base64!", "not base64"),
        ("", "not whole"),
        (base64.b64encode(b"x" * 15).decode(), "not whole"),
        (base64.b64encode(b"\0" * 32).decode(), "padding"),
    ],
)
def test_a_broken_ciphertext_says_what_is_wrong(sealed: str, words: str) -> None:
    with pytest.raises(CryptoError, match=words):
        decrypt(sealed, KEY, APPID)


def test_another_accounts_appid_inside_is_refused() -> None:
    with pytest.raises(CryptoError, match="appid"):
        decrypt(encrypt(b"hello", KEY, "wx0000000000000000"), KEY, APPID)


def test_a_key_that_is_no_key_is_refused() -> None:
    with pytest.raises(CryptoError, match="bytes, not 32"):
        aes_key_bytes("AAA")
