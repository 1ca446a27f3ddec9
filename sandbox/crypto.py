"""Signatures and message encryption of the callback, written from the platform's description.

Deliberately our own code on bare primitives: the sandbox exists to catch mistakes in the code it talks to, and would
repeat them if it shared any of it.
"""

import base64
import binascii
import hashlib
import secrets
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 32  # bytes; WeChat pads to twice the AES block
RANDOM_LENGTH = 16
LENGTH_SIZE = 4


class CryptoError(Exception):
    """A ciphertext that does not open; the text says which step failed."""


def sign(*parts: str) -> str:
    """The platform's signature: sha1 in hex over the sorted parts put together.

    `signature` signs (token, timestamp, nonce); `msg_signature` signs (token, timestamp, nonce, ciphertext).
    """
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()  # noqa: S324 (WeChat's choice, not ours)


def aes_key_bytes(encoding_aes_key: str) -> bytes:
    """The 32 key bytes behind the 43 characters of an EncodingAESKey. Raises CryptoError when they are not one."""
    try:
        key = base64.b64decode(encoding_aes_key + "=", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CryptoError("the EncodingAESKey is not base64") from error
    if len(key) != BLOCK:
        raise CryptoError(f"the EncodingAESKey gives {len(key)} bytes, not 32")
    return key


def encrypt(message: bytes, key: bytes, appid: str, random: bytes | None = None) -> str:
    """The base64 ciphertext of a message for this appid. `random` (16 bytes) is given only to repeat a vector."""
    head = secrets.token_bytes(RANDOM_LENGTH) if random is None else random
    plain = head + struct.pack(">I", len(message)) + message + appid.encode()
    pad = BLOCK - len(plain) % BLOCK
    encryptor = _cipher(key).encryptor()
    return base64.b64encode(encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()).decode()


def decrypt(ciphertext: str, key: bytes, appid: str) -> bytes:
    """The message inside a base64 ciphertext. Raises CryptoError when padding, length or appid do not fit."""
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CryptoError("the ciphertext is not base64") from error
    if not sealed or len(sealed) % 16:
        raise CryptoError("the ciphertext is not whole AES blocks")
    decryptor = _cipher(key).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    pad = padded[-1]
    if not 1 <= pad <= BLOCK or padded[-pad:] != bytes([pad]) * pad:
        raise CryptoError("the padding is wrong: another EncodingAESKey?")
    plain = padded[:-pad]
    body = plain[RANDOM_LENGTH + LENGTH_SIZE :]
    if len(plain) < RANDOM_LENGTH + LENGTH_SIZE:
        raise CryptoError("the plaintext is too short for its head")
    (length,) = struct.unpack_from(">I", plain, RANDOM_LENGTH)
    if length > len(body):
        raise CryptoError("the length inside is longer than the message")
    if body[length:] != appid.encode():
        raise CryptoError("the appid inside is another account's")
    return body[:length]


def _cipher(key: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(key[:16]))
