"""What every callback must satisfy, whichever format it came in, and the one error that refuses it.

The limits are ours unless a line says otherwise: far above anything WeChat sends, far below what could hurt.
"""

from __future__ import annotations

import enum
import math
import re
from typing import Any

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_NODES = 1000

SCALARS = frozenset(
    {
        *("ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "MsgID", "MsgDataId", "Idx", "Encrypt"),
        *("Event", "EventKey", "Ticket", "MenuId", "MenuID", "OpenID", "UnionID", "AppID", "RevokeInfo", "URL"),
        *("Content", "bizmsgmenuid", "PicUrl", "MediaId", "MediaId16K", "ThumbMediaId", "Format", "Recognition"),
        *("Location_X", "Location_Y", "Scale", "Label", "Latitude", "Longitude", "Precision"),
        *("Title", "Description", "Url", "FileKey", "FileMd5", "FileTotalLen"),
        *("AppId", "PagePath", "ThumbUrl", "SessionFrom", "KfAccount", "FromKfAccount", "ToKfAccount", "CloseType"),
        *("Status", "TotalCount", "FilterCount", "SentCount", "ErrorCount"),
        *("ExpiredTime", "FailTime", "FailReason"),
        *("CardId", "UserCardCode", "OldUserCardCode", "FriendUserName", "IsGiveByFriend", "OuterId", "OuterStr"),
    }
)
"""Fields that are one value in every message and event of the platform: never an element with children, never a list.
A nested ``FromUserName`` would otherwise reach a database query as an operator-shaped object."""

# openids and the accounts' original ids (gh_...) are base64url words of about 28 and 15 characters. The id becomes part
# of keys, routing and queries, so it is held to exactly that alphabet.
_USER = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAME = re.compile(r"[^\x00-\x20\x7f$.\ud800-\udfff][^\x00-\x1f\x7f$.\ud800-\udfff]{0,63}")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)

_LATEST_TIME = 2**53
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_LONGEST_KIND = 64


class Reason(enum.StrEnum):
    """Why a payload was refused: a closed set, safe as a metric label."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    FORMAT = "format"
    ENCODING = "encoding"
    MALFORMED = "malformed"
    DOCTYPE = "doctype"
    INSTRUCTION = "instruction"
    ATTRIBUTE = "attribute"
    ROOT = "root"
    MIXED_TEXT = "mixed_text"
    REPEATED = "repeated"
    NESTED = "nested"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    NAME = "name"
    VALUE = "value"
    USER = "user"
    TIME = "time"
    KIND = "kind"
    MSG_ID = "msg_id"
    ENCRYPT = "encrypt"


class BadPayload(Exception):
    """A refused callback body: ``reason`` for metrics, the text for a person. It never quotes the body."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def check_name(name: str) -> None:
    """Refuse a field name that could not be stored or addressed under that name."""
    if not _NAME.fullmatch(name):
        raise BadPayload(
            Reason.NAME,
            "A field's name is empty, longer than 64 characters, or holds a dot, a dollar sign or a control character.",
        )


def check_values(fields: dict[str, Any], *, escaped: bool) -> None:
    """Refuse JSON values no callback carries: deep nesting, non-finite or huge numbers, and text that is not text.

    ``escaped`` says whether the document used backslash-u escapes, the only way in for NUL and lone surrogates.
    """
    nodes = 0
    level: list[Any] = [fields]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                for name in container:
                    if name not in SCALARS:
                        check_name(name)
            values = container.values() if type(container) is dict else container
            nodes += len(container)
            for value in values:
                if type(value) is str:
                    if escaped:
                        _check_text(value)
                elif type(value) is dict or type(value) is list:
                    below.append(value)
                else:
                    _check_number(value)
        if nodes > MAX_NODES:
            raise BadPayload(Reason.TOO_MANY, f"The payload has more than {MAX_NODES} fields.")
        if not below:
            return
        level = below
    raise BadPayload(Reason.TOO_DEEP, f"The payload is nested deeper than {MAX_DEPTH} levels.")


def check_scalars(fields: dict[str, Any]) -> None:
    """Refuse a well-known JSON field that is an object, a list, a truth value or null; XML is checked as it is read."""
    for name, value in fields.items():
        kind = type(value)
        if kind is not str and kind is not int and kind is not float and name in SCALARS:
            raise BadPayload(Reason.NESTED, f"{name} must be one plain value.")


def check_message(fields: dict[str, Any]) -> dict[str, Any]:
    """Check what every message and event has, and return ``fields`` with CreateTime as an integer.

    Raises:
        BadPayload: a user name, the time, the kind or MsgId is missing or not what the platform documents.

    """
    _check_user(fields, "FromUserName")
    _check_user(fields, "ToUserName")
    fields["CreateTime"] = _create_time(fields.get("CreateTime"))
    kind = _check_kind(fields, "MsgType")
    if kind == "event" or kind.lower() == "event":
        _check_kind(fields, "Event")
    if fields.get("OpenID"):  # whom the authorization events are about
        _check_user(fields, "OpenID")
    if "MsgId" in fields:
        _check_msg_id(fields["MsgId"])
    return fields


def _check_user(fields: dict[str, Any], name: str) -> None:
    value = fields.get(name)
    if type(value) is not str or not _USER.fullmatch(value):
        raise BadPayload(Reason.USER, f"{name} must be 1 to 64 letters, digits, hyphens or underscores.")


def _create_time(value: object) -> int:
    # The JSON format has been seen with the time as a number and as a string of digits.
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if type(value) is not int or not 0 < value < _LATEST_TIME:
        raise BadPayload(Reason.TIME, "CreateTime must be a positive whole number of seconds below 2**53.")
    return value


def _check_kind(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str or not value or len(value) > _LONGEST_KIND or not value.isprintable():
        raise BadPayload(Reason.KIND, f"{name} must be 1 to {_LONGEST_KIND} printable characters.")
    return value


def _check_msg_id(value: object) -> None:
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    if type(value) is not int or not _INT64_MIN <= value <= _INT64_MAX:
        raise BadPayload(Reason.MSG_ID, "MsgId must be a 64-bit integer.")


def _check_text(value: str) -> None:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadPayload(Reason.VALUE, "A text value holds a NUL or half of a surrogate pair.")


def _check_number(value: object) -> None:
    if type(value) is int and not _INT64_MIN <= value <= _INT64_MAX:
        raise BadPayload(Reason.VALUE, "A number does not fit 64 bits.")
    if type(value) is float and not math.isfinite(value):
        raise BadPayload(Reason.VALUE, "A number is not finite.")
