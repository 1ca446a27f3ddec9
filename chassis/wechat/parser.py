"""Callback bodies, XML and JSON, read behind a guard: a dictionary comes out, or ``BadPayload`` and nothing else.

Pure and bounded: at most 64 KiB, 8 levels and 1,000 fields; no DOCTYPE, no entities, no processing instructions, no
attributes. Every field is kept under its own name. In XML each value is text, an element with children is a dictionary,
and an element repeated inside another is a list; CreateTime alone becomes an integer. In JSON numbers stay numbers.
The platform's formats: WeChat's pages "Receive standard messages" and "Receive event pushes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn
from xml.parsers import expat

from chassis.wechat.payload import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    SCALARS,
    BadPayload,
    Reason,
    check_message,
    check_name,
    check_scalars,
    check_values,
)

__all__ = ["BadPayload", "Reason", "parse", "parse_envelope", "parse_json", "parse_xml"]

_BOM: Final = b"\xef\xbb\xbf"


def parse(body: bytes) -> dict[str, Any]:
    """Read one message or event, XML or JSON by its first character.

    Raises:
        BadPayload: the body is not one; ``reason`` says why.

    """
    return check_message(_fields(body))


def parse_xml(body: bytes) -> dict[str, Any]:
    """Read one message or event in XML; raises as ``parse`` does."""
    return check_message(_xml(_sized(body)))


def parse_json(body: bytes) -> dict[str, Any]:
    """Read one message or event in JSON; raises as ``parse`` does."""
    return check_message(_json(_sized(body)))


def parse_envelope(body: bytes) -> dict[str, Any]:
    """Read the outer body of compatible or safe mode: the structure's rules, and a non-empty text ``Encrypt``.

    In compatible mode the plain fields stand beside ``Encrypt``; they are not checked, because only what was encrypted
    is signed: decrypt, then ``parse`` the plaintext. Raises as ``parse`` does.
    """
    fields = _fields(body)
    encrypt = fields.get("Encrypt")
    if type(encrypt) is not str or not encrypt:
        raise BadPayload(Reason.ENCRYPT, "The body has no Encrypt field, although the request says it is encrypted.")
    return fields


def _fields(body: bytes) -> dict[str, Any]:
    body = _sized(body)
    if body[:1] == b"<":
        return _xml(body)
    if body[:1] == b"{":
        return _json(body)
    raise BadPayload(Reason.FORMAT, "The body is neither XML (<) nor a JSON object ({).")


def _sized(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        raise BadPayload(Reason.TOO_LARGE, f"The body has {len(body)} bytes; at most {MAX_BYTES} are read.")
    body = body.removeprefix(_BOM).lstrip(b" \t\r\n")
    if not body:
        raise BadPayload(Reason.EMPTY, "The body is empty.")
    return body


# XML


def _xml(body: bytes) -> dict[str, Any]:
    fields = _flat(body) if len(body) <= _FLAT_BYTES else None
    return _guarded_xml(body) if fields is None else fields


_FLAT_BYTES: Final = 4096
"""Above this the quick reading is not tried: a search that fails at every tag costs the square of the length."""

_FIELD: Final = re.compile(
    r"""<([A-Za-z_][A-Za-z0-9_]{0,63})>
        (?: <!\[CDATA\[ ( [^\]]*+ (?: \](?!\]>) [^\]]*+ )*+ ) \]\]>
          | ( [^<&\]]*+ ) )
        </\1>[ \t\n]*+""",
    re.VERBOSE,
)
# What a document may not hold (control characters), and the carriage return, which XML turns into a line feed.
_SPECIAL: Final = bytes([*range(9), *range(11, 32)])


def _flat(body: bytes) -> dict[str, Any] | None:
    """Read the plainest shape of XML, which nearly every callback has, in less than half of expat's time.

    One level of elements, each with text or one CDATA section, nothing else. None means "not that shape, or not
    certain", and then the guarded reading decides; a test holds the two to the same answers.
    """
    # EF BF opens the three-byte characters up to U+FFFF, of which XML forbids the last two.
    if len(body.translate(None, _SPECIAL)) != len(body) or b"\xef\xbf" in body:
        return None
    try:
        parts = _FIELD.split(body.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    # parts: before the first field, then for each field its name, CDATA, text, and what stands after it.
    if parts[0].rstrip(" \t\n") != "<xml>" or parts[-1].rstrip(" \t\n") != "</xml>" or any(parts[4:-1:4]):
        return None
    names = parts[1::4]
    fields = {
        name: text if section is None else section
        for name, section, text in zip(names, parts[2::4], parts[3::4], strict=True)
    }
    return fields if len(fields) == len(names) <= MAX_NODES else None


def _guarded_xml(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    # The encoding given here overrides whatever the document claims, a UTF-16 byte order mark included.
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = _handlers(fields)
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.ProcessingInstructionHandler = _refuse_instruction
    parser.XmlDeclHandler = _check_declaration
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        reason = Reason.ENCODING if error.code in _ENCODING_ERRORS else Reason.MALFORMED
        raise BadPayload(reason, f"The body is not well-formed XML (line {error.lineno}).") from None
    return fields


_ENCODING_ERRORS: Final = frozenset({18, 19})  # expat: unknown encoding, incorrect encoding


def _handlers(
    fields: dict[str, Any],
) -> tuple[Callable[[str, list[str]], None], Callable[[str], None], Callable[[str], None]]:
    """Return expat's handlers for start, text and end; they fill ``fields``.

    The open elements are three parallel stacks: names, texts, and children (None until there is one).
    """
    names: list[str] = []
    texts: list[str] = []
    children: list[dict[str, Any] | None] = []
    nodes = 0

    def start(name: str, attributes: list[str]) -> None:
        nonlocal nodes
        nodes += 1
        depth = len(names)
        if attributes:
            raise BadPayload(Reason.ATTRIBUTE, "An element has an attribute; WeChat's have none.")
        if nodes > MAX_NODES + 1:  # the root is none of the fields
            raise BadPayload(Reason.TOO_MANY, f"The payload has more than {MAX_NODES} elements.")
        if depth > MAX_DEPTH:
            raise BadPayload(Reason.TOO_DEEP, f"The payload is nested deeper than {MAX_DEPTH} levels.")
        if depth == 0:
            if name != "xml":
                raise BadPayload(Reason.ROOT, "The root element must be <xml>.")
        elif depth == 1:
            if name in fields:
                raise BadPayload(Reason.REPEATED, "A field is there twice.")
        else:
            if names[1] in SCALARS:
                raise BadPayload(Reason.NESTED, f"{names[1]} must be plain text, without elements inside.")
            if children[-1] is None:
                children[-1] = {}
        if name not in SCALARS:
            check_name(name)
        names.append(name)
        texts.append("")
        children.append(None)

    def characters(data: str) -> None:
        texts[-1] += data

    def end(name: str) -> None:
        names.pop()
        value: Any = texts.pop()
        inside = children.pop()
        if inside is not None or not names:
            if value and not value.isspace():
                raise BadPayload(Reason.MIXED_TEXT, "An element holds both text and elements.")
            value = inside
        if len(names) > 1:
            parent = children[-1]
            assert parent is not None  # start() of this element made it
            _add(parent, name, value)
        elif names:
            fields[name] = value

    return start, characters, end


def _add(parent: dict[str, Any], name: str, value: Any) -> None:
    """Put a nested element into its parent; the second of a name makes a list."""
    if name not in parent:
        parent[name] = value
    elif type(parent[name]) is list:
        parent[name].append(value)
    else:
        parent[name] = [parent[name], value]


def _refuse_doctype(*_: object) -> NoReturn:
    raise BadPayload(Reason.DOCTYPE, "The body has a DOCTYPE; WeChat sends none.")


def _refuse_instruction(*_: object) -> NoReturn:
    raise BadPayload(Reason.INSTRUCTION, "The body has a processing instruction; WeChat sends none.")


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in {"utf-8", "utf8"}:
        raise BadPayload(Reason.ENCODING, "The body declares another encoding than UTF-8.")


# JSON


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadPayload(Reason.REPEATED, "A field is there twice.")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise BadPayload(Reason.VALUE, "NaN and Infinity are not JSON.")


# strict=False: what followers type may hold control characters, and the platform does not always escape them.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, strict=False)


def _json(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        document = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise BadPayload(Reason.ENCODING, "The body is not UTF-8.") from None
    except RecursionError:
        raise BadPayload(Reason.TOO_DEEP, f"The payload is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:  # not JSON, or an integer of thousands of digits
        raise BadPayload(Reason.MALFORMED, "The body is not valid JSON.") from None
    if type(document) is not dict:
        raise BadPayload(Reason.ROOT, "The body must be one JSON object.")
    if "\x00" in text:
        raise BadPayload(Reason.VALUE, "The body holds a NUL.")
    check_values(document, escaped="\\u" in text)
    check_scalars(document)
    return document
