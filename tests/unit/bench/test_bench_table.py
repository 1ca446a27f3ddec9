from dataclasses import replace

from bench import table
from bench.usage import ProcessUse
from tests.unit.bench.made import STORED_WELL, measurement


def test_columns_are_aligned() -> None:
    drawn = table.grid(["name", "count"], [["a", "1"], ["longer", "12345"]])

    assert drawn.splitlines() == [
        "name    count",
        "------  -----",
        "a           1",
        "longer  12345",
    ]


def test_a_run_shows_speeds_ratios_costs_and_verdicts() -> None:
    used = (ProcessUse("gateway", cpu_seconds=1.5, peak_mib=80.0), ProcessUse("mongodb", 0.75, 300.0))
    drawn = table.render(
        [
            measurement("aiohttp", 15000),
            measurement("werobot", 3000),
            measurement("weir", 7500, processes=used, storage=STORED_WELL),
        ]
    )

    lines = [line.split() for line in drawn.splitlines()]
    assert ["256", "0.50", "2.50"] in lines
    assert ["gateway", "100", "80"] in lines
    assert ["all", "150"] in lines
    assert "4 stored, 0 lost, 0 doubled" in drawn


def test_peers_alone_have_neither_ratios_nor_verdicts() -> None:
    drawn = table.render([measurement("aiohttp", 15000)])

    assert "15000" in drawn
    assert "weir" not in drawn


def test_a_disturbed_run_says_which_figures_are_worth_nothing() -> None:
    quiet, disturbed = measurement("aiohttp", 15000), replace(measurement("werobot", 900), strangers_share=0.4)

    assert "NOT COMPARABLE" not in table.render([quiet])
    assert "NOT COMPARABLE" in (drawn := table.render([quiet, disturbed]))
    assert "werobot at 256." in drawn
    assert "aiohttp at 256" not in drawn
