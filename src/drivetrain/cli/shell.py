"""What all commands share: parsing, printing, and how an error ends."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import drivetrain
from drivetrain.cli.screen import Screen
from drivetrain.errors import DrivetrainError, nearest
from drivetrain.system.settings import FILE, find_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivetrain.cli import Command
    from drivetrain.pipeline.guardian import Crash

_TITLES = {"build": "Build", "release": "Release", "operate": "Operate"}


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        strange = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        # Without the dashes, which all have in common.
        known = [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]
        is_option = strange.startswith("--")
        close = get_close_matches(strange.removeprefix("--"), known, n=1, cutoff=0.75) if is_option else []
        remedy = f"did you mean --{close[0]}?" if close else f"`{self.prog} --help` shows how it is used"
        self.exit(2, f"{message}\n  → {remedy}\n")


def carry_out(arguments: list[str], commands: Mapping[str, Command], *, is_process: bool) -> int:
    """Carry out one command line; `is_process` says that this process is there for it alone."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview(commands))
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"drivetrain {drivetrain.__version__}")
        return 0
    name = arguments[0]
    if name not in commands:
        print(f"no command is named {name!r}\n  → {nearest(name, list(commands))}", file=sys.stderr)
        return 2
    # OpenMP's threads wait for each other in a busy loop. On cores that are shared with a server, a training then took
    # 13 s instead of 0.4. The library reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    module = import_module(f"drivetrain.cli.{name}")
    parser = _Parser(prog=f"drivetrain {name}", description=module.__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--profile", default="", help="use [profile.NAME] of drivetrain.toml")
    module.arguments(parser)
    options = parser.parse_args(getattr(module, "rewritten", list)(arguments[1:]))
    if is_process and hasattr(module, "after_crash"):
        from drivetrain.pipeline.guardian import guarded  # only a command that runs the user's code needs one

        return guarded(lambda: _executed(module, options), lambda crash: _after_crash(module, options, crash))
    return _executed(module, options)


def _after_crash(module: Any, options: Namespace, crash: Crash) -> int:
    failure = module.after_crash(options, crash)
    Screen(json=options.json).error(failure or DrivetrainError(f"the process {crash.how}"))
    return 1


def _executed(module: Any, options: Namespace) -> int:
    screen = Screen(json=options.json)
    root = find_root()
    if root != Path.cwd() and module.__name__ != "drivetrain.cli.init":
        screen.note(f"in the project {root}, which has the nearest {FILE}")
    try:
        result = module.execute(options, screen)
    except DrivetrainError as error:
        if options.debug:
            raise
        screen.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        goes_on = "; what finished is kept, and the same command goes on from there"
        screen.note("interrupted" + (goes_on if getattr(module, "GOES_ON", False) else ""))
        return 130
    if options.json:
        screen.json(result)
    elif result is not None:
        module.show(result, screen)
    return getattr(module, "exit_code", lambda result: 0)(result)


def _overview(commands: Mapping[str, Command]) -> str:
    lines = [
        "One file of plain functions becomes a whole machine-learning system.",
        "",
        "usage: drivetrain COMMAND [--json] [--help]",
    ]
    for group, title in _TITLES.items():
        lines += ["", title]
        lines += [f"  {name:<10} {command.help}" for name, command in commands.items() if command.group == group]
    lines += ["", "Exit code: 0 done, 1 it failed, 2 it was asked wrongly, 3 the run finished and a gate refused."]
    lines += ["", "Begin with `drivetrain init my-system`, then `drivetrain run` in that folder."]
    return "\n".join(lines)
