"""The command ``weir``: its subcommands, and errors as one line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from contracts.errors import PublishFailed, SettingsError, Unavailable
from weir.reach import NotReachable

USAGE = """\
usage: weir <command> [options]

  up         run everything on this machine: RabbitMQ, MongoDB, all services, the sandbox
  users      people who sign in: list, add, roles, passwd, disable, enable
  tokens     tokens with which programs use the API: create, list, revoke
  accounts   the Official Accounts that Weir answers for: list, add, remove, check
  rules      what the machine answers: lint, publish, export, diff, versions, rollback, try, replay
  media      pictures, voices and videos for answers: add, list, remove
  incidents  who got a wrong answer, and their correction: open, show, correct, pause
  redrive    send dead letters round again: list, show, requeue
  export     the message history as JSON Lines

weir <command> --help tells more. Without WEIR_MONGODB_URL and WEIR_AMQP_URL the commands work on the Weir that
`weir up` runs from the same directory (.weir, or WEIR_HOME)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    command = COMMANDS.get(name)
    if command is None:
        print(f"weir: there is no command {name!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        return command(rest)
    except (SettingsError, NotReachable) as error:
        print(f"weir {name}: {error}", file=sys.stderr)
        return 1
    except PublishFailed as error:
        print(f"weir {name}: RabbitMQ did not take it: {error}; what was not sent is where it was", file=sys.stderr)
        return 1
    except Unavailable as error:
        print(f"weir {name}: {error.reason} cannot be reached: is Weir running? ({error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _up(argv: Sequence[str]) -> int:
    from weir.local.up import main as run

    return run(argv)


def _accounts(argv: Sequence[str]) -> int:
    from weir.accounts import main as run

    return asyncio.run(run(argv))


def _users(argv: Sequence[str]) -> int:
    from weir.users import main as run

    return asyncio.run(run(argv))


def _tokens(argv: Sequence[str]) -> int:
    from weir.tokens import main as run

    return asyncio.run(run(argv))


def _rules(argv: Sequence[str]) -> int:
    from weir.rules import main as run

    return run(argv)


def _media(argv: Sequence[str]) -> int:
    from weir.media import main as run

    return run(argv)


def _incidents(argv: Sequence[str]) -> int:
    from weir.incidents import main as run

    return asyncio.run(run(argv))


def _redrive(argv: Sequence[str]) -> int:
    from weir.redrive import main as run

    return asyncio.run(run(argv))


def _export(argv: Sequence[str]) -> int:
    from weir.export import main as run

    return run(argv)


# Each imports what it needs only when it runs, so that --help is quick.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "up": _up,
    "accounts": _accounts,
    "users": _users,
    "tokens": _tokens,
    "rules": _rules,
    "media": _media,
    "incidents": _incidents,
    "redrive": _redrive,
    "export": _export,
}
