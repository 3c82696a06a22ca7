"""A pickle is read only where somebody with the project's key vouched for its bytes."""

from __future__ import annotations

import pickle
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.project import Project

from drivetrain.errors import Refused
from drivetrain.store.artifact import Artifact
from drivetrain.store.signatures import VARIABLE, Signatures
from drivetrain.store.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::drivetrain.errors.UnsafePickle")


class Odd:
    """What no safe codec keeps."""

    def __init__(self, n: int) -> None:
        self.n = n


SYSTEM = """
import drivetrain as dt


class Odd:
    def __init__(self, n):
        self.n = n


@dt.step
def odd() -> object:
    return Odd(3)


@dt.step
def total(odd: object, more: int = 1) -> int:
    return odd.n + more
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", allow_pickle=True)


def evil(store: Store) -> Artifact:
    """Somebody has put a pickle of his own among the artifacts."""
    data = pickle.dumps(Odd(666))
    return Artifact(digest=store.artifacts.put(data), format="pickle", size_bytes=len(data))


def test_what_the_project_wrote_is_read_and_the_key_is_its_owners(store: Store) -> None:
    assert store.value(store.keep(Odd(3), part="odd")).n == 3
    assert stat.S_IMODE((store.root / "key").stat().st_mode) == 0o600
    assert store.value(store.keep(Odd(4), part="odd")).n == 4


def test_a_pickle_from_elsewhere_is_refused_until_somebody_vouches_for_it(store: Store) -> None:
    store.keep(Odd(3), part="odd")
    kept = evil(store)

    with pytest.raises(Refused, match=rf"did not sign(.|\n)*drivetrain store sign {kept.digest}"):
        store.value(kept)
    store.signatures.sign(kept.digest, store.artifacts.path(kept.digest))

    assert store.value(kept).n == 666


def test_the_signature_of_another_pickle_does_not_do(store: Store) -> None:
    mine, kept = store.keep(Odd(3), part="odd"), evil(store)
    shutil.copy(store.signatures.place(mine.digest), store.signatures.place(kept.digest))

    with pytest.raises(Refused, match="did not sign"):
        store.value(kept)


@pytest.mark.parametrize("loss", ["key", "signatures"])
def test_without_key_or_signature_nothing_is_read(store: Store, loss: str) -> None:
    mine = store.keep(Odd(3), part="odd")
    (store.root / loss).rename(store.root / "elsewhere")

    with pytest.raises(Refused, match="did not sign"):
        store.value(mine)


def test_a_key_that_others_can_read_is_refused(store: Store) -> None:
    mine = store.keep(Odd(3), part="odd")
    (store.root / "key").chmod(0o640)

    with pytest.raises(Refused, match="chmod 600"):
        store.value(mine)


def test_a_server_has_its_key_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "k" * 32)
    mine = store.keep(Odd(3), part="odd")
    assert store.value(mine).n == 3
    assert not (store.root / "key").exists()

    monkeypatch.setenv(VARIABLE, "x" * 32)
    with pytest.raises(Refused, match="did not sign"):
        store.value(mine)
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(Refused, match="at least 32"):
        store.value(mine)


def test_many_who_make_the_key_at_once_have_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"bytes")
    digests = ["sha256:" + f"{number:064x}" for number in range(40)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda digest: Signatures(tmp_path).sign(digest, path), digests))

    assert all(Signatures(tmp_path).is_signed(digest, path) for digest in digests)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["key", "model", "signatures"]


def test_an_import_brings_no_signature_along(tmp_path: Path) -> None:
    there, here = Project(tmp_path / "there"), Project(tmp_path / "here")
    for project in (there, here):
        project.root.mkdir()
        project.write(SYSTEM)
        project.write("[store]\nallow_pickle = true\n", "drivetrain.toml")
    there.json("run")
    there.command("store", "export", "--output", str(here.root / "all.tar"))
    assert (there.root / ".drivetrain" / "key").read_bytes() not in (here.root / "all.tar").read_bytes()
    here.command("store", "import", "all.tar")
    assert not (here.root / ".drivetrain" / "key").exists()

    refused = here.command("run", "--set", "total.more=2", check=None)
    assert refused.returncode != 0
    assert "drivetrain store sign sha256:" in refused.stderr

    digest = refused.stderr.partition("store sign ")[2][:71]
    here.command("store", "sign", digest)
    here.command("run", "--set", "total.more=2")
