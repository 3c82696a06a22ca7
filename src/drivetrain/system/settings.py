"""Settings of Drivetrain itself: read once, from the environment and `drivetrain.toml`, and passed on as one value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from drivetrain.errors import BadSetting, NotFound, UsageError

FILE = "drivetrain.toml"


class Setting(NamedTuple):
    """One dial: `section.key` in drivetrain.toml, `DRIVETRAIN_SECTION_KEY` in the environment."""

    name: str
    default: Any
    help: str


SETTINGS = (
    Setting("system.file", "system.py", "the file that declares the system"),
    Setting("system.name", "", "the name of the system; by default that of its file"),
    Setting("store.path", ".drivetrain", "the folder of the store, relative to drivetrain.toml"),
    Setting("store.allow_pickle", False, "keep values that only pickle can hold; reading a pickle can run any code"),
    Setting("run.workers", 0, "how many steps run at once; 0 is one a processor"),
    Setting("serve.host", "127.0.0.1", "the address that the server listens on; a public one needs serve.token"),
    Setting("serve.port", 8000, "the port of the server"),
    Setting("serve.grpc_port", 0, "the port on which the server answers gRPC as well; 0 for none"),
    Setting("serve.workers", 1, "how many processes answer requests"),
    Setting("serve.token", "", "the bearer token that every request must carry; empty asks for none"),
    Setting("serve.addresses", {}, "where called services answer, by name: http://HOST:PORT; others answer in process"),
    Setting("serve.address_tokens", {}, "the tokens that called services at addresses ask for, by name"),
    Setting("serve.callback_hosts", "", "hosts, separated by commas, that a job may call back; empty allows none"),
    Setting("serve.callback_secret", "", "what signs callbacks; needed where a host is allowed"),
    Setting("console.host", "127.0.0.1", "the address that the console listens on; a public one needs console.token"),
    Setting("console.port", 4200, "the port of the console"),
    Setting("console.token", "", "the token that opens the console; empty asks for none"),
    Setting("monitor.every_s", 1.0, "how many seconds pass between two looks of the monitor"),
)
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with a system in it, and its settings by name.

    >>> Project(root=Path("."), values={}).get("serve.port")
    8000
    """

    root: Path
    values: dict[str, Any]

    def get(self, name: str) -> Any:
        """Return a setting, or its default."""
        return self.values.get(name, _DEFAULTS[name])

    @property
    def store_path(self) -> Path:
        """The folder of the store."""
        return self.root / str(self.get("store.path"))

    @property
    def system_path(self) -> Path:
        """The file that declares the system."""
        return self.root / str(self.get("system.file"))


def find_root(start: Path | None = None) -> Path:
    """Return the folder of the project that `start` lies in: the nearest one, upwards, with a `drivetrain.toml`.

    Without such a file, the folder itself is the project.
    """
    start = (start or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / FILE).is_file()), start)


def find_project(start: Path | None = None, *, profile: str = "") -> Project:
    """Return the project that the folder `start` lies in, with its settings.

    A profile, `[profile.NAME.section]`, lays its values over the others; its name is `profile` or the environment's
    DRIVETRAIN_PROFILE.

    Raises:
        BadSetting: a setting is unknown or of the wrong type.
    """
    root = find_root(start)
    values: dict[str, Any] = {}
    path = root / FILE
    if path.is_file():
        try:
            body = msgspec.toml.decode(path.read_bytes())
        except msgspec.DecodeError as error:
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        profiles = body.pop("profile", {})
        values |= _flat(body)
        chosen = profile or os.environ.get("DRIVETRAIN_PROFILE", "")
        if chosen:
            if chosen not in profiles:
                raise NotFound(kind="profile", name=chosen, known=list(profiles))
            values |= _flat(profiles[chosen])
    for setting in SETTINGS:
        text = os.environ.get("DRIVETRAIN_" + setting.name.upper().replace(".", "_"))
        if text is not None:
            values[setting.name] = text
    return Project(root=root, values={name: _checked(name, value) for name, value in values.items()})


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, keys in body.items()
        for key, value in (keys.items() if isinstance(keys, dict) else ())
    }


def _checked(name: str, value: Any) -> Any:
    if name not in _DEFAULTS:
        raise NotFound(kind="setting", name=name, known=list(_DEFAULTS))
    kind: Any = type(_DEFAULTS[name])
    if kind is dict:
        kind, value = dict[str, str], _pairs(name, value) if isinstance(value, str) else value
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        if isinstance(value, dict):  # one of tokens must not be told
            raise BadSetting(setting=name, found="a table of other values", right="it must be texts by name") from error
        raise BadSetting(setting=name, found=repr(value), right=f"it must be {kind.__name__}") from error


def _pairs(name: str, text: str) -> dict[str, str]:
    """Return what stands in the environment as `expert=http://expert:8000,other=…`."""
    pairs = [each.strip().partition("=") for each in text.split(",") if each.strip()]
    if not all(word and equals for word, equals, _ in pairs):
        raise BadSetting(setting=name, found="a text without them", right="it must be NAME=VALUE,NAME=VALUE")
    return {word.strip(): value.strip() for word, _, value in pairs}
