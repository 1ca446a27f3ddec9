import pytest

from bench.__main__ import _options


def test_defaults_are_the_published_run() -> None:
    options = _options([])

    assert (options.connections, options.seconds, options.repeat) == ([16, 64, 256, 1000], 8, 1)
    assert options.only == ["aiohttp", "werobot", "weir"]


def test_lists_are_read_and_the_order_of_measuring_is_ours() -> None:
    options = _options(["--connections", "8,32", "--only", "weir,aiohttp", "--json", "-"])

    assert options.connections == [8, 32]
    assert options.only == ["aiohttp", "weir"]
    assert options.json == "-"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--connections", "16,none"], "'none' is not a whole number"),
        (["--connections", "0"], "'0' is not a whole number"),
        (["--seconds", "1.5"], "'1.5' is not a whole number"),
        (["--only", "django"], "'django' is not one of aiohttp, werobot, weir"),
    ],
)
def test_a_bad_option_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _options(arguments)

    assert complaint in capsys.readouterr().err
