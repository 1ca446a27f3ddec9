"""Safe mode: what WeChat encrypts, opened and closed again.

AES-256-CBC around ``16 random bytes + 4-byte length + message + appid``, padded to 32-byte blocks; the key comes from
the account's EncodingAESKey and the IV is its first half. Source: WeChat's page "Message encryption and decryption".
The cipher and the framing out are wechatpy's; the framing in is checked here, because wechatpy trusts the padding and
the length of whatever it decrypts.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from chassis.wechat.cdata import cdata
from chassis.wechat.sdk import PrpCrypto
from chassis.wechat.signature import callback_signature, verify

_AES_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}", re.ASCII)
_AES_BLOCK: Final = 16
_BLOCK: Final = 32
_RANDOM: Final = 16
_HEAD: Final = _RANDOM + 4


class CryptoError(Exception):
    """An encrypted callback that is refused: answer 403, count it, publish nothing. Holds nothing of the message."""

    reason: str = "crypto"
    """A word for a metric label."""


class BadSignature(CryptoError):
    """``msg_signature`` does not fit this token, timestamp, nonce and ciphertext: it is not from WeChat."""

    reason = "signature"


class BadCiphertext(CryptoError):
    """The signature is right, but no key opens the ciphertext: the EncodingAESKey here is not the account's."""

    reason = "ciphertext"


class WrongAppid(CryptoError):
    """It opens, but it was written for another account: its callback URL points here by mistake."""

    reason = "appid"


class _Crypto(PrpCrypto):
    """wechatpy's framing with random characters from the system's secure source, and never one twice by rule."""

    def get_random_string(self) -> str:
        return secrets.token_urlsafe(12)  # 12 bytes are 16 characters


class Cipher:
    """One account's keys: the current EncodingAESKey first, then the ones it replaced and that may still be in use.

    Build it once for each account: making the ciphers costs more than a message.
    """

    __slots__ = ("_appid", "_ciphers", "_token")

    def __init__(self, token: str, appid: str, aes_keys: Sequence[str]) -> None:
        """Prepare the keys.

        Raises:
            ValueError: there is no key, or one is not 43 characters of base64; the text does not repeat it.

        """
        if not aes_keys:
            raise ValueError("no EncodingAESKey: safe mode needs the 43 characters from the account's settings page")
        self._token = token
        self._appid = appid
        self._ciphers = tuple(_Crypto(_key(text, place)) for place, text in enumerate(aes_keys, start=1))

    def decrypt(self, encrypt: str, msg_signature: str, timestamp: str, nonce: str) -> tuple[bytes, int]:
        """Return the plaintext and the place of the key that opened it (0 is the current one).

        Raises:
            BadSignature: checked first, in constant time, so nothing unsigned reaches the cipher.
            BadCiphertext: no key opens it.
            WrongAppid: it was encrypted for another account.

        """
        if not verify(self._token, timestamp, nonce, encrypt, given=msg_signature):
            raise BadSignature("msg_signature is wrong: check the account's callback token")
        try:
            ciphertext = base64.b64decode(encrypt, validate=True)
        except (binascii.Error, ValueError):
            raise BadCiphertext("Encrypt is not base64") from None
        if not ciphertext or len(ciphertext) % _AES_BLOCK:
            raise BadCiphertext("Encrypt is not a whole number of blocks")
        found_appid = False
        for place, crypto in enumerate(self._ciphers):
            opened = _unframe(crypto.cipher.decrypt(ciphertext))
            if opened is None:
                continue
            message, appid = opened
            if appid == self._appid.encode():
                return message, place
            found_appid = True
        if found_appid:
            raise WrongAppid("the message was encrypted for another appid: check which account's URL points here")
        raise BadCiphertext("no key opens the message: check the account's EncodingAESKey")

    def encrypt_reply(
        self, xml: str, timestamp: str, nonce: str, key_index: int = 0, *, as_json: bool = False
    ) -> bytes:
        """Return the encrypted envelope of a passive reply, made with the key that opened the message.

        ``xml`` is the reply itself (JSON when the account pushes JSON); ``timestamp`` is in Unix seconds; ``timestamp``
        and ``nonce`` may be those of the request. The envelope is XML, or JSON when ``as_json``.
        """
        encrypt = self._ciphers[key_index].encrypt(xml, self._appid).decode("ascii")
        seconds = int(timestamp)
        signature = callback_signature(self._token, str(seconds), nonce, encrypt)
        if as_json:
            return msgspec.json.encode(
                {"Encrypt": encrypt, "MsgSignature": signature, "TimeStamp": seconds, "Nonce": nonce}
            )
        return (
            f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt>"
            f"<MsgSignature><![CDATA[{signature}]]></MsgSignature>"
            f"<TimeStamp>{seconds}</TimeStamp>"
            f"<Nonce><![CDATA[{cdata(nonce)}]]></Nonce></xml>"
        ).encode()


def _key(text: str, place: int) -> bytes:
    if not _AES_KEY.fullmatch(text):
        raise ValueError(f"EncodingAESKey {place} must be 43 letters and digits; this one has {len(text)} characters")
    return base64.b64decode(text + "=")


def _unframe(plain: bytes) -> tuple[bytes, bytes] | None:
    """Return the message and the appid inside a decrypted frame, or None when this is no frame at all."""
    padding = plain[-1]
    if not 1 <= padding <= _BLOCK or plain[-padding:] != bytes([padding]) * padding:
        return None
    end = _HEAD + int.from_bytes(plain[_RANDOM:_HEAD], "big")
    last = len(plain) - padding
    return (plain[_HEAD:end], plain[end:last]) if end <= last else None
