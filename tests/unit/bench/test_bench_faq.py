"""The labelled set is what it claims to be, and the similarity is as good on its held-out third as the document says."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from bench import faq
from services.autoreply.faq import DEFAULT_THRESHOLD

DOCUMENT = Path(__file__).parents[3] / "docs" / "faq.md"


@pytest.fixture(scope="module")
def labelled() -> faq.Labelled:
    return faq.read()


@pytest.fixture(scope="module")
def lines(labelled: faq.Labelled) -> list[faq.Line]:
    return faq.held_out(labelled)


def test_the_set_is_large_enough_and_no_text_is_in_it_twice(labelled: faq.Labelled) -> None:
    questions = [*labelled.training, *labelled.held_out]
    asked = Counter(text for text, _ in questions)
    assert len(labelled.names) >= 40
    assert sum(label is not None for _, label in questions) >= 320
    assert sum(label is None for _, label in questions) >= 80
    assert max(asked.values()) == 1
    assert not asked.keys() & {text for phrasings in labelled.phrasings for text in phrasings}
    assert 0.28 < len(labelled.held_out) / len(questions) < 0.39
    assert len({label for _, label in labelled.held_out} - {None}) >= 40


def test_answers_to_held_out_questions_are_right(lines: list[faq.Line]) -> None:
    mine = next(line for line in lines if (line.way, line.threshold) == ("weir", DEFAULT_THRESHOLD))
    assert mine.precision >= 0.95
    assert mine.recall >= 0.66


def test_it_is_worth_more_than_simpler_ways(lines: list[faq.Line]) -> None:
    mine = next(line for line in lines if (line.way, line.threshold) == ("weir", DEFAULT_THRESHOLD))
    as_precise = [line.recall for line in lines if line.way != "weir" and line.precision >= mine.precision]
    assert mine.recall > 4 * max(as_precise)


def test_the_document_shows_what_is_measured(lines: list[faq.Line]) -> None:
    rows = re.findall(
        r"^\| (\w[\w ]+) \| ([\d.]+)[^|]*\| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)% \| (\d+) \|$",
        DOCUMENT.read_text(),
        re.MULTILINE,
    )
    measured = [
        (
            line.way,
            f"{line.threshold:.1f}",
            f"{line.precision:.1%}"[:-1],
            f"{line.recall:.1%}"[:-1],
            f"{line.answered:.1%}"[:-1],
            str(line.wrong),
        )
        for line in lines
    ]
    assert rows == measured


def test_json_is_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert faq.main(["--json", "--training"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["default"] == DEFAULT_THRESHOLD
    assert {line["way"] for line in run["lines"]} == {"weir", "difflib ratio", "keyword rules"}
