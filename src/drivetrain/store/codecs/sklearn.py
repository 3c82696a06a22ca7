"""Estimators of scikit-learn as skops files: the values of a model, and only the names of its classes.

A file names classes and functions that are looked up when it is read, so each name is checked first, when a model is
written as when it is read. What is trusted: classes of scikit-learn, of numpy's and scipy's numerical parts, and the
wrappers of LightGBM and XGBoost; of functions only those that calculate. Everything else is refused by its name, the
user's own classes among it: a file that can name any class can run code.
"""

from __future__ import annotations

import io
import json
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import skops.io
from skops.io.exceptions import UnsupportedTypeException

from drivetrain.errors import Refused, Unkeepable
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path

# The parts whose classes are trusted. `sklearn.datasets` and the like fetch or open files, numpy's and scipy's other
# parts hold loaders, compilers and `exec`.
_CLASSES = re.compile(
    r"""sklearn\.(?!datasets\b|externals\b|utils\.(?!_bunch\b)|conftest\b|_build_utils\b)(?!.*\btests\b).*
    |numpy\.(random|ma|dtypes|_core\.multiarray)(\..*)?
    |scipy\.(interpolate|sparse|spatial|special|stats)(\..*)?
    |lightgbm\.(sklearn|basic|compat)
    |xgboost\.(sklearn|core)
    |collections""",
    re.VERBOSE,
)
# The parts whose functions only calculate: scores, distances, transformations.
_FUNCTIONS = re.compile(
    r"sklearn\.(metrics|feature_selection|preprocessing|gaussian_process)(\..*)?|numpy\.linalg(\..*)?"
    r"|scipy\.(special|stats|spatial\.distance|_lib\.array_api_compat\.numpy\._aliases)(\..*)?"
)
_NUMPY_FUNCTIONS = frozenset(
    {
        "abs", "amax", "amin", "around", "array", "asarray", "average", "clip", "cumsum", "diff", "hypot", "identity",
        "max", "mean", "median", "min", "nan_to_num", "nanmax", "nanmean", "nanmedian", "nanmin", "nanstd", "nansum",
        "prod", "ravel", "reshape", "round", "sort", "squeeze", "std", "sum", "transpose", "var", "where", "atleast_2d",
    }
)  # fmt: skip
# How HistGradientBoosting turns the columns that are no categories into arrays. What a partial calls, and with what,
# stands in the file by name too.
_BY_NAME = frozenset({"functools.partial", "sklearn.utils.validation.check_array"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


class SklearnCodec:
    """Keeps estimators, pipelines and searches, whether fitted or not."""

    formats = frozenset({"skops"})
    shares = False

    def write(self, value: Any, path: Path) -> Written:
        try:
            data = canonical(skops.io.dumps(value))
        except (UnsupportedTypeException, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise Unkeepable(
                found=f"a {type(value).__qualname__} that skops cannot write: {error}", right=_RIGHT
            ) from error
        strangers = untrusted(data)
        if strangers:
            raise Unkeepable(
                found=f"a {type(value).__qualname__} that holds {', '.join(strangers)}, not of a trusted library",
                right=_RIGHT,
            )
        path.write_bytes(data)
        return Written("skops")

    def read(self, path: Path, form: Any) -> Any:
        data = path.read_bytes()
        strangers = untrusted(data)
        if strangers:
            raise Refused(
                f"a model names {', '.join(strangers)}, which is not of a trusted library",
                remedy="it is not read, because reading it could run code; train it again with trusted classes only",
            )
        return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


_RIGHT = (
    "make the step from scikit-learn's own estimators, and do your own transformations in the features function; or "
    "return an ONNX model (skl2onnx); or keep the model in a file of your own, which a class with "
    "`@dt.predictor(files=…)` loads; or set `allow_pickle = true` under [store] in drivetrain.toml, knowing that a "
    "pickle can run any code when read"
)


def untrusted(data: bytes) -> list[str]:
    """Return the names in a skops file that are not trusted, before anything is made from it.

    Raises:
        Refused: it is no skops file.
    """
    try:
        names = skops.io.get_untrusted_types(data=data)
    except (BadZipFile, KeyError, TypeError, ValueError) as error:
        raise Refused(f"a model cannot be read as skops: {error}", remedy="train it again") from error
    return [name for name in names if not _is_trusted(name)]


def _is_trusted(name: str) -> bool:
    if name in _BY_NAME:
        return True
    module, _, last = name.rpartition(".")
    if not re.match(r"(sklearn|numpy|scipy|lightgbm|xgboost|collections)(\.|$)", module):
        return False
    try:
        found = getattr(import_module(module), last)
    except (ImportError, AttributeError):
        # A bound method is named after its class: `sklearn.….DistanceMetric.dist`.
        return (
            bool(_CLASSES.fullmatch(module.rpartition(".")[0])) and not last.startswith("_") and module[-1:].isalnum()
        )
    # Where a thing is defined counts, not where it is named: modules hold many names that they only import.
    home = getattr(found, "__module__", None) or module
    if isinstance(found, type):
        if issubclass(found, (np.generic, np.dtype)) or found is np.ndarray:
            return True
        return _CLASSES.fullmatch(home) is not None
    if isinstance(found, np.ufunc):
        return True
    if home == "numpy":
        return last in _NUMPY_FUNCTIONS
    return callable(found) and _FUNCTIONS.fullmatch(home) is not None


def canonical(data: bytes) -> bytes:
    """Return a skops file with what changes from one writing to the next made the same: ids, file names, times, sets.

    skops names objects by their address in memory, and files by that or at random.
    """
    with ZipFile(io.BytesIO(data)) as source:
        schema = json.loads(source.read("schema.json"))
        ids: dict[int, int] = {}
        files: dict[str, str] = {}
        _renumber(schema, ids, files)
        target = io.BytesIO()
        with ZipFile(target, "w") as made:
            for old, new in files.items():
                made.writestr(ZipInfo(new, _EPOCH), source.read(old))
            made.writestr(ZipInfo("schema.json", _EPOCH), json.dumps(schema))
    return target.getvalue()


def _renumber(node: Any, ids: dict[int, int], files: dict[str, str]) -> None:
    if isinstance(node, list):
        for item in node:
            _renumber(item, ids, files)
        return
    if not isinstance(node, dict):
        return
    if node.get("__loader__") == "SetNode":
        node["content"].sort(key=_without_ids)
    if node.get("__loader__") == "JsonNode":
        # Whether two equal numbers or texts are one object is chance, and nobody can tell.
        node.pop("__id__", None)
    elif "__id__" in node and "__loader__" in node:
        node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
    if isinstance(node.get("file"), str) and "__loader__" in node:
        ending = node["file"].rpartition(".")[2]
        node["file"] = files.setdefault(node["file"], f"{len(files)}.{ending}")
    for item in node.values():
        _renumber(item, ids, files)


def _without_ids(node: Any) -> str:
    return re.sub(r'"(__id__|file)": [^,}]+', "", json.dumps(node))


CODEC = SklearnCodec()
