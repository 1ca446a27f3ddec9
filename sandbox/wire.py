"""One callback as bytes: the body in the account's mode and format, and the signed query beside it."""

import msgspec

from sandbox.accounts import AccountConfig
from sandbox.crypto import aes_key_bytes, encrypt, sign
from sandbox.inbound import Inbound
from sandbox.pushformat import write


class Wire(msgspec.Struct, frozen=True):
    """A body ready to be posted. `sealed` is its ciphertext (None in plain mode), which the query signs."""

    body: bytes
    content_type: str
    sealed: str | None


def prepare(config: AccountConfig, inbound: Inbound) -> Wire:
    """The body of a callback: clear, clear with the ciphertext beside it (compatible), or ciphertext alone (safe)."""
    content_type = "application/json" if config.format == "json" else "text/xml"
    clear = inbound.raw if inbound.raw is not None else write(inbound.fields, config.format)
    if config.mode == "plain" or config.aes_key is None:
        return Wire(clear.encode(errors="replace"), content_type, None)
    message = clear.encode(errors="replace")
    sealed = encrypt(message, aes_key_bytes(config.aes_key), config.appid)
    if config.mode == "compatible" and inbound.raw is None:
        envelope = {**inbound.fields, "Encrypt": sealed}
    else:
        envelope = {"ToUserName": config.original_id, "Encrypt": sealed}
    return Wire(write(envelope, config.format).encode(), content_type, sealed)


def query(config: AccountConfig, openid: str, sealed: str | None, timestamp: str, nonce: str) -> dict[str, str]:
    """The signed query string's parts."""
    parts = {
        "signature": sign(config.token, timestamp, nonce),
        "timestamp": timestamp,
        "nonce": nonce,
        "openid": openid,
    }
    if sealed is not None:
        parts["encrypt_type"] = "aes"
        parts["msg_signature"] = sign(config.token, timestamp, nonce, sealed)
    return parts
