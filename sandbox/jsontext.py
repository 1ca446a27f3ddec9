"""Reading JSON from outside."""

from typing import Any

import msgspec


class NotJsonError(Exception):
    """A text that is not JSON, or not the kind of value asked for."""


def read_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises NotJsonError for anything else.

    msgspec alone lets two other errors through: UnicodeDecodeError for bytes that are not UTF-8, RecursionError for
    values nested a thousand deep.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


def read_json_object(raw: bytes) -> dict[str, Any]:
    """As `read_json`, for a JSON object."""
    value = read_json(raw)
    if not isinstance(value, dict):
        raise NotJsonError("not a JSON object")
    return value
