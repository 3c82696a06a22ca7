"""Anything at all as a pickle: only where the project allows it, and never silently.

The store signs each one that it writes, and reads only what is signed.
"""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

from drivetrain.errors import Unkeepable, UnsafePickle
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

# Fixed, so that a newer Python gives the same bytes.
PROTOCOL = 5


class PickleCodec:
    """Keeps what pickle can; the store asks for it only when `allow_pickle` is set, to write and to read."""

    formats = frozenset({"pickle"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        kind = type(value).__qualname__
        warnings.warn(UnsafePickle(type_name=kind, does="written"), stacklevel=3)
        try:
            data = pickle.dumps(value, protocol=PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise Unkeepable(
                found=f"a {kind} that cannot even be pickled: {error}",
                right="define its class and functions at the top of a module, and leave out open files and connections",
            ) from error
        path.write_bytes(data)
        return Written("pickle")

    def read(self, path: Path, form: Any) -> Any:
        warnings.warn(UnsafePickle(type_name=getattr(form, "__qualname__", "a value"), does="read"), stacklevel=3)
        return pickle.loads(path.read_bytes())  # noqa: S301  # allowed by the project, and warned of


CODEC = PickleCodec()
