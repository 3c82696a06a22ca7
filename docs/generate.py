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

COMMANDS_BEGIN = """# Commands

A command is run in the project's folder, or anywhere below it: the project is the nearest folder above with a
`drivetrain.toml`, and a command from below says which that is. Results go to standard output; progress, notes and
errors to standard error.

| every command takes | |
|---|---|
| `--json` | the result as one line of JSON; an error is JSON too, on standard error |
| `--debug` | the traceback of an error |
| `--profile NAME` | `[profile.NAME]` of `drivetrain.toml`; see [settings](settings.md#profiles) |
| `--help` | all options |

| exit code | |
|--:|---|
| 0 | done |
| 1 | it failed: a step raised, a check broke, the store could not be written |
| 2 | it was asked wrongly: an unknown name, an impossible declaration, an unsafe address |
| 3 | the run finished, and a gate refused the version |
| 130 | Ctrl-C; what finished is kept |
"""

SETTINGS_BEGIN = """# Settings

These are the dials of Drivetrain itself. What your parts can be set to, their parameters with a default, is in
[declaring](declaring.md#settings).

A value is looked for in this order: an option of the command (`--port 9000`), the environment
(`DRIVETRAIN_SERVE_PORT=9000`), `drivetrain.toml`, the default. `drivetrain doctor` shows the value that each has now.
"""

SETTINGS_END = """
## The file

`drivetrain.toml` marks the project's folder. It may be empty. A relative path in it counts from there.

```toml title="drivetrain.toml"
[system]
file = "system.py"

[run]
workers = 2

[profile.staging.serve]
port = 8100

[profile.staging.store]
path = ".drivetrain-staging"
```

## Profiles

A **profile** lays other values over the file: `--profile staging`, or `DRIVETRAIN_PROFILE=staging` in the environment.
It changes where things run and are kept, never your Python file. Here staging has a store of its own:

```python title="system.py"
import drivetrain as dt


@dt.step
def answer() -> int:
    return 42
```

```console
$ drivetrain run
$ drivetrain run --profile staging
```

A name that does not exist is an error, and never passed over:

```toml title="drivetrain.toml"
[serve]
prt = 8100
```

<!-- exit 2 -->
```console
$ drivetrain run
no setting 'serve.prt' is known
  → did you mean serve.port?
```

## Tokens

Give `serve.token` and `console.token` in the environment. In the file they would go where the file goes: into git,
and, as long as they are not committed, into the diff that each run records.
"""

ERRORS_BEGIN = """# Errors

Each error says what was found and what would be right, and names the line of your file where there is one. A command
prints it and ends with its exit code; `--json` gives it as JSON, `--debug` with its traceback. In Python the same facts
are attributes: `error.step`, `error.place`, `error.remedy`.

```python
from drivetrain.errors import DrivetrainError, UnknownName

error = UnknownName(kind="input", name="flihts", known=["flights", "weather"])
assert isinstance(error, DrivetrainError)
assert error.remedy == "did you mean flights?"
```

| error | a kind of | exit code | when | what to do |
|---|---|--:|---|---|
"""

WHAT_TO_DO = {
    "DrivetrainError": "Catch this one to catch all.",
    "DeclarationError": "Change the line that it names; nothing has run.",
    "UnknownName": "Take the name that it proposes, or declare the missing part.",
    "UnknownMetric": "Name a metric that the evaluation gives; see [evaluations](training.md#evaluations).",
    "DuplicateName": "Rename one of the two.",
    "Cycle": "Remove one of the arrows, often by splitting a part in two.",
    "MissingAnnotation": "Say what the function returns; see [annotations](declaring.md#annotations).",
    "BadSetting": "Give a value of the type of the default.",
    "UsageError": "Read the line with the arrow: it says how to ask.",
    "NotFound": "Take the name that it proposes; `drivetrain runs` and `drivetrain models` list what there is.",
    "BadFilter": "Mend the filter at the place that it points at; see [filters](experiments.md#filters).",
    "MissingExtra": "Run the `pip install` that it prints.",
    "BadArchive": "Copy or export it again; nothing of it was taken. See "
    "[moving runs](store.md#moving-runs-and-backups).",
    "BadRow": "Mend the row, or choose what becomes of such rows with [`--on-bad-row`](batch.md#bad-rows).",
    "Refused": "Take the safe way that it names, or set the setting that allows it.",
    "Unreachable": "Start the engine, or correct its address, and give the command again; see "
    "[engines](models.md#an-engine-elsewhere).",
    "StoreError": "Mend what it names and run again: what finished is kept.",
    "CorruptArtifact": "`drivetrain store fsck --repair` sets the file aside; the step that made it runs anew. See "
    "[damage](store.md#damage).",
    "CorruptLedger": "`drivetrain store import` a backup, or `drivetrain store fsck --repair`; see "
    "[damage](store.md#damage).",
    "StoreUnavailable": "Free some space or mend the permissions, then run again.",
    "NoCodec": "Return a type of the [table](declaring.md#annotations), or allow pickle knowingly.",
    "Unkeepable": "Take out what it names, or give it an output of its own.",
    "WrongForm": "Annotate the parameter with the type that the step before returns.",
    "UnsafePickle": "Return a safe type, and take out `store.allow_pickle`.",
    "StepFailed": "Mend the line of your code that it names; the next run goes on from there.",
    "CheckFailed": "Look at the rows that it shows; mend the source, or loosen the [check](data.md#checks).",
    "FeatureSkew": "Compute each row from itself and from other datasets; see [features](data.md#features).",
    "StepTimedOut": "Look at the line that it was at, or raise [`timeout_s`](graphs.md#limits-and-processes).",
    "StepCrashed": "Look at the line that it was at, and at `drivetrain logs STEP`; the other steps are not touched. "
    "See [processes](graphs.md#limits-and-processes).",
    "StepOutOfMemory": "Read fewer rows at once, or raise [`memory_gib`](graphs.md#limits-and-processes).",
    "TryAgain": "Raise it in a step that has [`retry`](graphs.md#retries).",
    "GiveUp": "Raise it in a step that has [`retry`](graphs.md#retries), where no further try can help.",
    "RequestError": "A client's to mend: the answer names each field; see [refusals](serving.md#refusals).",
    "UnreadableImage": "send the image whole: the answer names its row and field",
    "CallFailed": "Look at the called service that it names; see [calls](composition.md#when-a-call-fails).",
}


def commands() -> str:
    """Return the page of the commands: what each does, and its options."""
    lines = [COMMANDS_BEGIN]
    for name in COMMANDS:
        module = import_module(f"drivetrain.cli.{name}")
        parser = argparse.ArgumentParser(prog=f"drivetrain {name}", add_help=False)
        module.arguments(parser)
        lines += [f"## drivetrain {name}", "", " ".join(str(module.__doc__).split()), ""]
        actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        lines += _options(f"drivetrain {name}", parser)
        for each in actions:
            for word, inner in each.choices.items():
                lines += [f"`drivetrain {name} {word}`: {inner.description}", "", *_options("with", inner)]
    return "\n".join(lines).rstrip() + "\n"


def _options(title: str, parser: argparse.ArgumentParser) -> list[str]:
    shown = [
        action
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
        and action.help != argparse.SUPPRESS
    ]
    rows = [f"| `{_shown(action)}` | {action.help} |" for action in shown]
    return [f"| {title if title == 'with' else f'`{title}`'} | |", "|---|---|", *rows, ""] if rows else []


def _shown(action: argparse.Action) -> str:
    """Return an argument as one types it."""
    value = str(action.metavar or action.dest.upper()).replace("|", "\\|")
    if action.option_strings:
        return action.option_strings[0] + ("" if action.nargs == 0 else f" {value}")
    return {"?": f"[{value}]", "*": f"[{value} …]", "+": f"{value} …"}.get(str(action.nargs), value)


def settings() -> str:
    """Return the page of the settings."""
    lines = [SETTINGS_BEGIN, "| setting | default | environment | what it does |", "|---|---|---|---|"]
    for setting in SETTINGS:
        default = "empty" if setting.default == "" else f"`{str(setting.default).lower()}`"
        environment = "DRIVETRAIN_" + setting.name.upper().replace(".", "_")
        lines.append(f"| `{setting.name}` | {default} | `{environment}` | {setting.help} |")
    return "\n".join(lines) + "\n" + SETTINGS_END


def error_page() -> str:
    """Return the page of the errors, as the tree that they are."""
    lines = []
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.DrivetrainError):
            base = kind.__mro__[1].__name__
            first = str(kind.__doc__).strip().splitlines()[0]
            parent = f"`{base}`" if base != "Exception" else "–"
            lines.append(f"| `{name}` | {parent} | {kind.exit_code} | {first} | {WHAT_TO_DO[name]} |")
    return ERRORS_BEGIN + "\n".join(lines) + "\n"


PAGES = {"commands.md": commands, "settings.md": settings, "errors.md": error_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
