import msgspec
import pytest

from chassis.http import to_json


class Int64(int):
    """As MongoDB's driver has it: every integer above 32 bits."""


def test_large_integers_from_mongodb_are_numbers() -> None:
    value = {"MsgId": Int64(24_095_362_263_838_743), "items": [Int64(1)]}
    assert msgspec.json.decode(to_json(value)) == {"MsgId": 24_095_362_263_838_743, "items": [1]}


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        to_json({"what": object()})
