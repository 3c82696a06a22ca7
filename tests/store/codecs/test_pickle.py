from pathlib import Path
from typing import Any

import pytest

from drivetrain.errors import NoCodec, Refused, Unkeepable, UnsafePickle
from drivetrain.store.store import Store


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size


@pytest.fixture
def permissive(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", allow_pickle=True)


def test_without_permission_nothing_is_pickled(store: Store) -> None:
    with pytest.raises(NoCodec, match="'part' returns Thing"):
        store.keep(Thing(3), part="part")


def test_with_permission_a_thing_comes_back_and_each_time_is_warned_of(permissive: Store) -> None:
    with pytest.warns(UnsafePickle, match="Thing is written"):
        kept = permissive.keep(Thing(3), part="part")
    with pytest.warns(UnsafePickle, match="read"):
        seen = permissive.value(kept, Thing)

    assert kept.format == "pickle"
    assert seen.size == 3


def test_a_store_without_permission_does_not_read_what_one_with_it_wrote(permissive: Store, tmp_path: Path) -> None:
    with pytest.warns(UnsafePickle):
        kept = permissive.keep(Thing(3), part="part")
    strict = Store.open(tmp_path / "store")

    for form in (None, Thing, dict):
        with pytest.raises(Refused, match="can run any code"):
            strict.value(kept, form)


def test_what_a_safe_form_cannot_hold_is_pickled_only_with_permission(permissive: Store, store: Store) -> None:
    value: dict[str, Any] = {"thing": Thing(3)}

    with pytest.raises(Unkeepable, match=r"\['thing'\]"):
        Store.open(store.root).keep(value, part="part")
    with pytest.warns(UnsafePickle):
        kept = permissive.keep(value, part="part")
    with pytest.warns(UnsafePickle):
        assert permissive.value(kept, dict)["thing"].size == 3


def test_what_cannot_even_be_pickled_is_refused(permissive: Store) -> None:
    with pytest.warns(UnsafePickle), pytest.raises(Unkeepable, match="cannot even be pickled"):
        permissive.keep(lambda: 1, part="part")
