"""A small project of several modules, whose step `target` uses what Python allows: it is there to be edited."""

from __future__ import annotations

FILES = {
    "drivetrain.toml": "",
    "config.yaml": "limit: 3\n",
    "sql/one.sql": "select 1\n",
    "data/rows.csv": "a\n1\n2\n3\n",
    "pack/__init__.py": 'from .inner import reexported\n\nKIND = "pack"\n',
    "pack/inner.py": '''"""Inner."""

from . import deeper


def reexported(x):
    return deeper.deepest(x) + 1


def stranger(x):
    return x
''',
    "pack/deeper.py": "def deepest(x):\n    return x * 1\n",
    "late.py": "import late_too\n\nRATE = 2\n\n\ndef lately(x):\n    return x + late_too.BASE\n",
    "late_too.py": "BASE = 1\n",
    "starred.py": "STAR = 5\n\n\ndef star(x):\n    return x + STAR\n",
    "cycle_a.py": "import cycle_b\n\n\ndef even(n):\n    return True if n == 0 else cycle_b.odd(n - 1)\n",
    "cycle_b.py": "import cycle_a\n\n\ndef odd(n):\n    return False if n == 0 else cycle_a.even(n - 1)\n",
    "dynamic.py": "def by_name(x):\n    return x + 3\n",
    "shapes.py": '''"""Shapes."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import msgspec


class Meta(type):
    def made(cls):
        return 1


class Base(metaclass=Meta):
    """A base."""

    offset = 1

    def __init__(self, x):
        self.x = x

    def total(self):
        return self.helper() + self.offset

    def helper(self):
        return self.x

    @property
    def double(self):
        """Twice."""
        return self.x * 2

    @staticmethod
    def fixed():
        return 7


class Child(Base):
    def helper(self):
        return super().helper() + 10


@dataclass
class Point:
    x: int = 1
    tags: list = field(default_factory=lambda: ["t"])

    def norm(self):
        return self.x


class Color(Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: int
    right: int = 2


class Packed(msgspec.Struct):
    size: int = 3


class Other:
    """Nobody uses it."""

    y = 1
''',
    "helpers.py": '''"""Helpers."""

import functools
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

FACTOR = 2
WORDS = frozenset({"a", "b", "c"})
PATTERN = re.compile("x+")
DAY = date(2013, 1, 1)
PRICE = Decimal("1.5")
WEIGHTS = np.array([1.0, 2.0])
TABLE = pl.DataFrame({"a": [1, 2]})
COLUMNS = [pl.col("a")]
HOME = Path(__file__).parent / "data"


def traced(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


@traced
def decorated(x):
    return x + 1


@functools.lru_cache
def cached(x):
    return x + 2


@functools.singledispatch
def general(x):
    return 0


@general.register
def _(x: int):
    return x + 4


plus = functools.partial(lambda a, b: a + b, 6)


def one(x):
    return x + 1


def two(x):
    return x + 2


HANDLERS = {"one": one, "two": two}


def scale(x, by=FACTOR, *, extra=[0]):
    """Scale."""
    return x * by + extra[0]


def outer(step):
    def inner(x):
        """Inside."""
        return x + step

    return inner


closed = outer(3)
doubly = (lambda f: lambda x: f(x))(closed)


def generated(n):
    yield from range(n)


async def waited():
    return 1


def checked(x):
    assert x < 1000, "large"
    return x


def unused(x):
    return x


made = eval("lambda x: x + 1")
''',
    "system.py": '''"""A system."""

import os

import cycle_a
import dynamic
import helpers
import pack
import shapes
from starred import *

import drivetrain as dt

LIMIT = 10


def clip(x):
    # keeps it small
    return min(x, LIMIT)


@dt.step
def source() -> int:
    return 4


@dt.step
def other() -> int:
    return 1


@dt.dataset
def rows() -> dict:
    return dt.read("data/rows.csv")


@dt.step(env=["WORKSHOP_URL"], files=["config.yaml", "sql/*.sql"])
def target(source: int, rows: "pl.DataFrame", depth: int = 1) -> dict:
    """Doc."""
    import late

    local_name = "data/nothing"
    point = shapes.Point()
    child = shapes.Child(source)
    words = [w for w in ("a", "z") if w in helpers.WORDS and w != "q"]
    url = os.environ.get("WORKSHOP_URL", "")
    return {
        "clip": clip(source) + depth,
        "helpers": helpers.scale(helpers.decorated(helpers.cached(source))) + helpers.general(source),
        "closures": helpers.closed(1) + helpers.doubly(1) + helpers.plus(1) + helpers.made(1),
        "handlers": [helpers.HANDLERS[name](source) for name in sorted(helpers.HANDLERS)],
        "classes": child.total() + child.double + child.fixed() + point.norm() + shapes.Base.made(),
        "kinds": [shapes.Color.RED.value, *shapes.Pair(1), shapes.Packed().size, len(point.tags)],
        "values": [str(helpers.PRICE), str(helpers.DAY), bool(helpers.PATTERN.match("xx")), helpers.HOME.name],
        "arrays": float(helpers.WEIGHTS.sum()) + helpers.TABLE.select(helpers.COLUMNS).height,
        "modules": pack.reexported(source) + star(source) + late.lately(source) + cycle_a.even(4),
        "dynamic": getattr(dynamic, "by_name")(source),
        "rest": [len(words), len(local_name), len(url), sum(helpers.generated(3)), helpers.checked(source)],
        "async": helpers.waited.__name__,
        "rows": rows.height,
    }
''',
}
FILES["system.py"] = (
    FILES["system.py"]
    .replace("def rows() -> dict:", "def rows() -> pl.DataFrame:")
    .replace("import drivetrain as dt\n", "import polars as pl\n\nimport drivetrain as dt\n", 1)
)
