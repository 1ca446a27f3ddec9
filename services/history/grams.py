"""What of a text goes into the search index: its characters and its pairs of characters, normalised. Pure.

Chinese has no spaces to cut words at. A phrase of two characters or more is in a text only if all its pairs are; a
phrase of one only if that character is. What the index finds is then compared with the text itself.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import msgspec

BLOCK = 8192
"""Messages in a full block. A place in a block has to fit into 16 bits."""
BUCKETS = 512
"""Documents that the postings of a block are spread over, by a checksum of the gram."""
MAX_GRAMS = 8
"""Pairs of a phrase that are looked up; the comparison with the text settles the rest."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def normal(text: str) -> str:
    """The form in which texts are compared: full width as half width, upper case as lower case (NFKC, folded)."""
    return unicodedata.normalize("NFKC", text).casefold()


def grams(text: str) -> set[str]:
    """All characters and pairs of characters of a normalised text."""
    found = set(text)
    found.update(map("".join, pairwise(text)))
    return found


def sought(phrase: str) -> list[str]:
    """The grams to look up for a normalised phrase: all that a text must have which has the phrase."""
    if len(phrase) == 1:
        return [phrase]
    pairs = list(dict.fromkeys(phrase[i : i + 2] for i in range(len(phrase) - 1)))
    if len(pairs) <= MAX_GRAMS:
        return pairs
    step = (len(pairs) - 1) / (MAX_GRAMS - 1)
    return [pairs[round(i * step)] for i in range(MAX_GRAMS)]


def bucket(gram: str) -> int:
    return crc32(gram.encode("utf-8", "surrogatepass")) % BUCKETS


def postings(texts: Sequence[str]) -> dict[int, bytes]:
    """The postings of a block: for each bucket its grams and the places of the texts that have them."""
    places: defaultdict[str, array[int]] = defaultdict(lambda: array("H"))
    for place, text in enumerate(texts):
        for gram in grams(normal(text)):
            places[gram].append(place)
    buckets: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    for gram, found in places.items():
        buckets[bucket(gram)][gram] = found.tobytes()
    return {number: _encode(held) for number, held in buckets.items()}


def places(packed: bytes, gram: str) -> array[int]:
    """The places of a gram in its bucket, oldest text first."""
    found: array[int] = array("H")
    found.frombytes(_decode(packed).get(gram, b""))
    return found
