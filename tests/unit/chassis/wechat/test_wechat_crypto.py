import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.wechat import crypto
from chassis.wechat.crypto import BadCiphertext, BadSignature, Cipher, CryptoError, WrongAppid
from chassis.wechat.parser import parse, parse_envelope
from chassis.wechat.signature import callback_signature

# WeChat's page "Message encryption and decryption"
TOKEN, APPID, KEY = "AAAAA", "wxba5fad812f8e6fb9", "A" * 43
ENCRYPT = (
    "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740X"
    "gXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7m"
    "StwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
)
TIMESTAMP, NONCE, SIGNATURE = "1714112445", "415670741", "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"
PLAIN = (
    b'{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714112445,'
    b'"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}'
)
OTHER_KEY = "kWxfP3dTq8Zb1mRy5uVn7oLs2eHc4jGa6iXw9tKp0Qz"

cipher = Cipher(TOKEN, APPID, [KEY])


def sealed(message, key=KEY, appid=APPID, token=TOKEN):
    """Encrypt as WeChat does, for another account or key if asked."""
    envelope = json.loads(Cipher(token, appid, [key]).encrypt_reply(message, TIMESTAMP, NONCE, 0, as_json=True))
    return envelope["Encrypt"], envelope["MsgSignature"]


def signed(encrypt):
    return callback_signature(TOKEN, TIMESTAMP, NONCE, encrypt)


def raw(plain):
    """Encrypt bytes that need not be a frame, and sign them."""
    encrypt = base64.b64encode(cipher._ciphers[0].cipher.encrypt(plain)).decode()
    return encrypt, signed(encrypt)


def test_the_official_vector_decrypts():
    assert cipher.decrypt(ENCRYPT, SIGNATURE, TIMESTAMP, NONCE) == (PLAIN, 0)
    assert parse(PLAIN)["debug_str"] == "hello world"


def test_the_official_vector_encrypts(monkeypatch):
    monkeypatch.setattr(crypto._Crypto, "get_random_string", lambda _: "707722b803182950")
    reply = json.loads(cipher.encrypt_reply('{"demo_resp":"good luck"}', "1713424427", NONCE, 0, as_json=True))
    assert reply == {
        "Encrypt": "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ==",
        "MsgSignature": "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1",
        "TimeStamp": 1713424427,
        "Nonce": NONCE,
    }


def test_the_random_head_is_sixteen_characters_and_never_the_same():
    heads = {cipher._ciphers[0].get_random_string() for _ in range(100)}
    assert len(heads) == 100
    assert {len(head.encode()) for head in heads} == {16}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reply_opens_with_the_key_that_closed_it(as_json):
    both = Cipher(TOKEN, APPID, [OTHER_KEY, KEY])
    body = both.encrypt_reply("<xml>再见 ]]></xml>", TIMESTAMP, NONCE, 1, as_json=as_json)
    fields = parse_envelope(body)
    assert str(fields["TimeStamp"]) == TIMESTAMP
    assert fields["Nonce"] == NONCE
    message, place = both.decrypt(fields["Encrypt"], fields["MsgSignature"], TIMESTAMP, NONCE)
    assert (message.decode(), place) == ("<xml>再见 ]]></xml>", 1)
    assert cipher.decrypt(fields["Encrypt"], fields["MsgSignature"], TIMESTAMP, NONCE)[1] == 0


def test_the_previous_key_still_opens_while_the_new_one_settles():
    both = Cipher(TOKEN, APPID, [OTHER_KEY, KEY])
    assert both.decrypt(ENCRYPT, SIGNATURE, TIMESTAMP, NONCE) == (PLAIN, 1)
    assert both.decrypt(*sealed("new", OTHER_KEY), TIMESTAMP, NONCE) == (b"new", 0)


def test_a_nonce_cannot_break_out_of_the_envelope():
    fields = parse_envelope(cipher.encrypt_reply("x", TIMESTAMP, "a]]>b<c>", 0))
    assert fields["Nonce"] == "a]]>b<c>"


@pytest.mark.parametrize(
    ("encrypt", "signature", "timestamp", "nonce"),
    [
        (ENCRYPT, SIGNATURE[::-1], TIMESTAMP, NONCE),
        (ENCRYPT, "", TIMESTAMP, NONCE),
        (ENCRYPT, "签名", TIMESTAMP, NONCE),
        (ENCRYPT, SIGNATURE, "1714112446", NONCE),
        (ENCRYPT, SIGNATURE, TIMESTAMP, "1"),
        ("A" + ENCRYPT[1:], SIGNATURE, TIMESTAMP, NONCE),
        ("\ud800", SIGNATURE, TIMESTAMP, NONCE),
    ],
)
def test_a_wrong_signature_is_refused_before_anything_is_opened(encrypt, signature, timestamp, nonce):
    with pytest.raises(BadSignature):
        cipher.decrypt(encrypt, signature, timestamp, nonce)


def test_a_message_for_another_account_is_refused():
    with pytest.raises(WrongAppid):
        cipher.decrypt(*sealed("hello", appid="wx0000000000000000"), TIMESTAMP, NONCE)
    with pytest.raises(WrongAppid):
        cipher.decrypt(*sealed("hello", appid=""), TIMESTAMP, NONCE)


def test_a_message_under_another_key_is_refused():
    with pytest.raises(BadCiphertext):
        cipher.decrypt(*sealed("hello", key=OTHER_KEY), TIMESTAMP, NONCE)


@pytest.mark.parametrize(
    "plain",
    [
        bytes(32),  # padding 0
        b"\x21" * 32,  # padding 33
        bytes(31) + b"\x02",  # padding that is not repeated
        b"\x20" * 32,  # nothing but padding
        bytes(16) + b"\xff\xff\xff\xff" + b"\x0c" * 12,  # a length of 4 GiB
        bytes(16) + b"\x00\x00\x00\x09" + b"12345678" + b"\x04" * 4,  # a length one too long
        b"\x01" * 16,
    ],
)
def test_a_frame_that_lies_is_refused(plain):
    with pytest.raises((BadCiphertext, WrongAppid)):
        cipher.decrypt(*raw(plain), TIMESTAMP, NONCE)


@pytest.mark.parametrize(
    "encrypt", ["", "====", "not base64!", "QUJD", "A" * 43, "é" * 64, ENCRYPT[:-4], ENCRYPT + "\n"]
)
def test_signed_nonsense_is_refused(encrypt):
    with pytest.raises(BadCiphertext):
        cipher.decrypt(encrypt, signed(encrypt), TIMESTAMP, NONCE)


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.b64encode(data).decode())))
def test_no_ciphertext_raises_anything_else(encrypt):
    with pytest.raises(CryptoError) as caught:
        cipher.decrypt(encrypt, signed(encrypt), TIMESTAMP, NONCE)
    assert caught.value.reason in {"ciphertext", "appid"}


@given(st.binary(max_size=8).map(lambda head: (head * 16)[:96]).filter(lambda plain: len(plain) % 16 == 0 and plain))
def test_no_plaintext_raises_anything_else(plain):
    with pytest.raises(CryptoError):
        cipher.decrypt(*raw(plain), TIMESTAMP, NONCE)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_message_comes_back(message):
    assert cipher.decrypt(*sealed(message), TIMESTAMP, NONCE) == (message.encode(), 0)


@pytest.mark.parametrize("key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "密" * 43, "A" * 42 + "-"])
def test_a_malformed_key_is_named_but_not_repeated(key):
    with pytest.raises(ValueError, match="EncodingAESKey 2") as caught:
        Cipher(TOKEN, APPID, [KEY, key])
    assert not key or key not in str(caught.value)


def test_safe_mode_without_a_key_says_so():
    with pytest.raises(ValueError, match="43 characters"):
        Cipher(TOKEN, APPID, [])


def test_nothing_secret_in_the_repr():
    assert KEY not in repr(cipher)
    assert TOKEN not in repr(cipher)


def test_padding_must_be_whole():
    frame = bytes(16) + (5).to_bytes(4, "big") + b"hello" + APPID.encode()
    padding = bytes([64 - len(frame)]) * (64 - len(frame))
    assert cipher.decrypt(*raw(frame + padding), TIMESTAMP, NONCE) == (b"hello", 0)
    with pytest.raises(BadCiphertext):
        cipher.decrypt(*raw(frame + b"\x00" + padding[1:]), TIMESTAMP, NONCE)
