"""What a function reads that is neither code nor an input: files and environment variables that its part declares."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from glob import glob
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.errors import DeclarationError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drivetrain.errors import Place

# A digest that is slow to make is slow to guess from: a value may be a short secret. About four milliseconds.
_ROUNDS = 10_000
_WORD = re.compile(r"\{([^\W\d]\w*)\}")


def names_in(given: str | Iterable[str], option: str, *, place: Place) -> tuple[str, ...]:
    """Return the names that a decorator was given; one may stand without a list.

    Raises:
        DeclarationError: one is no text.
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if not name or type(name) is not str:
            raise DeclarationError(
                f"{option}= was given {name!r}, which is no name", remedy=f'write `{option}=["…"]`', place=place
            )
    return names


def files_of(patterns: Sequence[str], root: Path, *, part: str, place: Place) -> dict[str, Path]:
    """Return the files that paths and patterns name, each by its name below `root`.

    Raises:
        DeclarationError: one names no file.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        full = root / pattern
        matches = files_matching(pattern, root)
        if not matches:
            raise DeclarationError(
                f"{part!r} declares that it reads {pattern!r}, and there is no such file",
                remedy=nearest_file(full),
                place=place,
            )
        for match in matches:
            found[os.path.relpath(match, root)] = match
    return found


def nearest_file(path: Path) -> str:
    """Return what is there in place of a file that is not, in words."""
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    near = [other.name for other in folder.iterdir() if not other.name.startswith(".")]
    return f"in {folder}, {nearest(path.name, near)}"


def files_matching(pattern: str, root: Path) -> list[Path]:
    """Return the files that a path or pattern names."""
    full = root / pattern
    matches = [full] if full.is_file() else [Path(match) for match in sorted(glob(str(full), recursive=True))]
    return [match for match in matches if match.is_file()]


def filled(pattern: str, item: Mapping[str, str]) -> str:
    """Return a path in which each word in braces that an item has is replaced.

    >>> filled("data/{month}/{kind}.csv", {"month": "2013-02"})
    'data/2013-02/{kind}.csv'
    """
    return _WORD.sub(lambda found: item.get(found[1], found[0]), pattern)


def words_in(pattern: str) -> list[str]:
    """Return the words in braces.

    >>> words_in("data/{month}.csv")
    ['month']
    """
    return _WORD.findall(pattern)


def environment_digest(name: str) -> str:
    """Return a digest of an environment variable, from which its value is not to be read back; `unset` without one."""
    value = os.environ.get(name)
    return "unset" if value is None else _guarded(name, value)


@lru_cache(maxsize=256)
def _guarded(name: str, value: str) -> str:
    return pbkdf2_hmac("sha256", os.fsencode(value), name.encode(), _ROUNDS).hex()[:16]
