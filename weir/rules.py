"""``weir rules lint FILE...``: what is wrong with a rule file, with line and fix."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.autoreply.rulefile import RuleFileError, checked, compiled, digest


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="weir rules", description="Work with rule files.")
    commands = parser.add_subparsers(dest="command", required=True)
    lint = commands.add_parser("lint", help="check rule files; exit status 1 when one would be refused")
    lint.add_argument("files", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    bad = 0
    for path in given.files:
        try:
            text = path.read_text(encoding="utf-8")
            rules = compiled(checked(text, datetime.now(UTC)), digest(text))
        except RuleFileError as error:
            bad += 1
            for problem in error.problems:
                print(f"{path}:{problem.line}: {problem.sentence}", file=sys.stderr)
        except (OSError, UnicodeDecodeError) as error:
            bad += 1
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
        else:
            print(f"{path}: {rules.size} rules, version {rules.version}")
    return 1 if bad else 0
