"""A boosted model's own file and a small JSON beside it, in one zip: what LightGBM and XGBoost have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np

from drivetrain.errors import Refused, Unkeepable
from drivetrain.store import exact

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
_RIGHT = "give it only numbers, text, lists and dicts; an objective or metric of your own is code, which is not kept"


def write_booster(path: Path, model: bytes | None, facts: dict[str, Any]) -> None:
    """Write the model's own bytes (None before it is fitted), and what the wrapper around it knows.

    Raises:
        Unkeepable: the facts hold something that is no plain value.
    """
    try:
        body = exact.encode(facts)
    except Unkeepable as error:
        raise Unkeepable(where=error.where, found=error.found, right=_RIGHT) from error
    with ZipFile(path, "x") as made:
        made.writestr(ZipInfo("wrapper.json", _EPOCH), body)
        if model is not None:
            made.writestr(ZipInfo("model", _EPOCH), model)


def read_booster(path: Path, library: str, classes: Collection[str]) -> tuple[bytes | None, dict[str, Any]]:
    """Return the model's own bytes, and what the wrapper knew.

    Raises:
        Refused: it is no such file, or names a class that is not among `classes`.
    """
    try:
        with ZipFile(path) as source:
            facts = exact.decode(source.read("wrapper.json"))
            model = source.read("model") if "model" in source.namelist() else None
    except (BadZipFile, KeyError, ValueError) as error:
        raise Refused(f"a {library} model cannot be read: {error}", remedy="train it again") from error
    if facts["class"] not in classes:
        raise Refused(
            f"a {library} model names the class {facts['class']}, which is not one of {', '.join(sorted(classes))}",
            remedy="train it again with one of these",
        )
    return model, facts


def labels_to_json(labels: Any) -> dict[str, Any] | None:
    """Return class labels with their type, which JSON alone would lose.

    >>> labels_to_json(np.array(["no", "yes"]))
    {'dtype': '<U3', 'labels': ['no', 'yes']}
    """
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.dtype.hasobject and not all(isinstance(label, (str, bool, int, float)) for label in labels):
        raise Unkeepable(
            where="classes_", found="labels that are neither text nor numbers", right="make them text or numbers"
        )
    return {"dtype": labels.dtype.str, "labels": labels.tolist()}


def labels_from_json(kept: dict[str, Any] | None) -> Any:
    """Return class labels as the array they were.

    >>> labels_from_json({"dtype": "<i8", "labels": [0, 1]})
    array([0, 1])
    """
    return None if kept is None else np.array(kept["labels"], dtype=kept["dtype"])
