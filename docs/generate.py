"""Write the reference pages from the code that they describe: `python docs/generate.py`.

A test compares the pages with what this gives, so that neither can drift from the other.
"""

import argparse
import inspect
from importlib import import_module
from pathlib import Path

from drivetrain import errors
from drivetrain.cli import COMMANDS
from drivetrain.system.settings import SETTINGS

HERE = Path(__file__).parent


def commands() -> str:
    """Return the page of the commands: what each does, and its options."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--json` (the result as JSON on standard output), `--debug` (an error's traceback), "
        "`--profile NAME` and `--help`. It ends with 0 when it is done, 1 when something failed, 2 when it was asked "
        "wrongly, and 130 after Ctrl-C. Results go to standard output, everything else to standard error; progress is "
        "shown on a terminal only.",
        "",
    ]
    for name, command in COMMANDS.items():
        module = import_module(f"drivetrain.cli.{name}")
        parser = argparse.ArgumentParser(add_help=False)
        module.arguments(parser)
        actions = parser._actions
        words = " ".join(f"[{action.metavar or action.dest}]" for action in actions if not action.option_strings)
        lines += [f"## `drivetrain {name}`", "", str(module.__doc__).strip(), ""]
        lines += ["| | |", "|---|---|"] if actions else []
        for action in actions:
            shown = action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
            value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
            lines.append(f"| `{shown}{value}` | {action.help} |".replace("|STEP", "\\|STEP"))
        lines += [""] if actions else []
        assert command.help
        assert words is not None
    return "\n".join(lines).rstrip() + "\n"


def settings() -> str:
    """Return the page of the settings."""
    lines = [
        "# Settings",
        "",
        "A setting stands in `drivetrain.toml` as `key` under `[section]`; the environment goes before the file, and "
        "an option of a command before both. `[profile.NAME.section]` lays others over them, by `--profile NAME` "
        "or `DRIVETRAIN_PROFILE`. `drivetrain doctor` shows what they are.",
        "",
        "| setting | default | environment | what it does |",
        "|---|---|---|---|",
    ]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default != "" else "empty"
        environment = "DRIVETRAIN_" + setting.name.upper().replace(".", "_")
        lines.append(f"| `{setting.name}` | {default} | `{environment}` | {setting.help} |")
    return "\n".join(lines) + "\n"


def error_page() -> str:
    """Return the page of the errors, as the tree that they are."""
    lines = [
        "# Errors",
        "",
        "Each error says what was found and what would be right; the same facts are attributes. A command prints it "
        "and ends with its exit code.",
        "",
        "| error | a kind of | exit code | when |",
        "|---|---|--:|---|",
    ]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.DrivetrainError):
            base = kind.__mro__[1].__name__
            first = str(kind.__doc__).strip().splitlines()[0]
            lines.append(f"| `{name}` | {f'`{base}`' if base != 'Exception' else '–'} | {kind.exit_code} | {first} |")
    return "\n".join(lines) + "\n"


PAGES = {"commands.md": commands, "settings.md": settings, "errors.md": error_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
