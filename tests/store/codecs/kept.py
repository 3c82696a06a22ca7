"""Keeping a value in a real store and reading it again, as the tests of all codecs do."""

from typing import Any

from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store


def again(store: Store, value: Any, form: Any = None, *, format: str = "") -> Any:  # noqa: A002  # the word for it
    """Return the value as it comes back, and make sure of its form on disk and that equal values give equal bytes."""
    kept = store.keep(value, part="part")
    assert not format or kept.format == format
    assert store.keep(value, part="part").digest == kept.digest
    return store.value(kept, form)


def kept(store: Store, value: Any) -> Artifact:
    return store.keep(value, part="part")
