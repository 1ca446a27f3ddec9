"""How a callback's fields are written: XML with CDATA, or JSON.

Fields are a plain dictionary in the platform's own names. A dictionary inside is a nested element. A list inside is an
element that repeats: in JSON it becomes a list, or the bare object when there is only one, as on the platform.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

Fields = Mapping[str, Any]

# Characters that XML 1.0 cannot carry at all; the platform's own parser would have dropped them earlier.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """The text without the characters that no XML document may contain."""
    return _NOT_XML.sub("", text)


def to_xml(fields: Fields) -> str:
    return f"<xml>{''.join(_element(name, value) for name, value in fields.items())}</xml>"


def to_json(fields: Fields) -> str:
    return msgspec.json.encode(_collapse(fields)).decode()


def write(fields: Fields, push_format: str) -> str:
    return to_json(fields) if push_format == "json" else to_xml(fields)


def _element(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    if isinstance(value, Mapping):
        inner = "".join(_element(child, item) for child, item in value.items())
        return f"<{name}>{inner}</{name}>"
    if isinstance(value, int | float):
        return f"<{name}>{value}</{name}>"
    # "]]>" inside a text would end the CDATA section early, so it is split over two of them.
    text = xml_text(str(value)).replace("]]>", "]]]]><![CDATA[>")
    return f"<{name}><![CDATA[{text}]]></{name}>"


def _collapse(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _collapse(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [_collapse(item) for item in value]
        return items[0] if len(items) == 1 else items
    return xml_text(value) if isinstance(value, str) else value
