"""Text that is safe inside a CDATA section."""

from __future__ import annotations

import re
from typing import Final

# What XML 1.0 cannot carry even escaped, and the one sequence that would close the section early.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|]]>")


def cdata(text: str) -> str:
    """Return ``text`` for the inside of a CDATA section.

    ``]]>`` is split over two sections, which reads back unchanged; characters that XML 1.0 forbids are left out,
    because one of them makes the whole reply malformed and WeChat then shows the follower an error. wechatpy's fields
    do neither.
    """
    return _UNSAFE.sub(_replace, text) if _UNSAFE.search(text) else text


def _replace(match: re.Match[str]) -> str:
    return "]]]]><![CDATA[>" if match.group() == "]]>" else ""
