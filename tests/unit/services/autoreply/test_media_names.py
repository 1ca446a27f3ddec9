"""Names of the media library in rules: checked when published, kept with the version, resolved in the first part."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.mediatable import MediaTable
from contracts.content import Image, Voice
from services.autoreply.compiling import check
from services.autoreply.rulefile import RuleFileError

RULES = 'version: 1\nrules:\n  - id: a\n    when: {text: {exact: ["map"]}}\n    reply: {type: image, media: map}\n'
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_name_that_the_library_does_not_have_is_refused() -> None:
    with pytest.raises(RuleFileError, match="there is no media 'map'"):
        check(RULES, media=frozenset())
    assert check(RULES, media=frozenset({"map"})).media == ("map",)


class Rows:
    """As much of a database as the table reads."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = rows

    def __getitem__(self, _name: str) -> "Rows":
        return self

    def find(self, *_: object) -> "Rows":
        return self

    async def to_list(self, _most: None) -> list[dict[str, Any]]:
        return list(self._rows)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"kind": "image", "media_id": "m1", "expires_at": datetime(2026, 1, 2, tzinfo=UTC)}, Image("m1")),
        ({"kind": "image", "media_id": "m1", "expires_at": datetime(2026, 1, 1, 0, 4, tzinfo=UTC)}, None),
        ({"kind": "voice", "media_id": "m1", "expires_at": datetime(2026, 1, 2, tzinfo=UTC)}, None),
        ({"kind": "image"}, None),
    ],
)
async def test_only_an_id_that_lasts_is_put_in(row: dict[str, Any], found: Image | None) -> None:
    table = MediaTable(Rows({"account": "demo", "name": "map", **row}), lambda: NOW)  # type: ignore[arg-type]
    await table.look()
    named = Image(media="map")
    assert table.resolve("demo", named) == (found or named)
    assert table.resolve("other", named) is named
    assert table.resolve("demo", Voice("v")) == Voice("v")
