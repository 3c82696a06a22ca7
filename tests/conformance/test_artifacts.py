"""What every store of artifacts promises."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import binary, text
from tests.conformance.artifact_stores import ARTIFACT_STORES

from drivetrain.errors import NotFound
from drivetrain.store.artifacts import Artifacts
from drivetrain.store.digest import digest_of


@pytest.fixture(scope="module", params=ARTIFACT_STORES)
def artifacts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return ARTIFACT_STORES[request.param](tmp_path_factory.mktemp("artifacts"))


@settings(max_examples=50, deadline=None)
@given(data=binary())
def test_what_is_put_is_got_back(artifacts: Artifacts, data: bytes) -> None:
    digest = artifacts.put(data)

    assert digest == digest_of(data)
    assert artifacts.has(digest)
    assert artifacts.get(digest) == data
    assert artifacts.path(digest).read_bytes() == data


def test_putting_the_same_bytes_again_gives_the_same_digest_and_one_artifact(artifacts: Artifacts) -> None:
    first, second = artifacts.put(b"twice"), artifacts.put(b"twice")

    assert first == second
    assert list(artifacts).count(first) == 1


def test_more_than_one_chunk_is_put_and_got(artifacts: Artifacts) -> None:
    data = bytes(range(256)) * 12_000

    assert artifacts.get(artifacts.put(data)) == data


def test_a_finished_file_is_moved_in(artifacts: Artifacts, tmp_path: Path) -> None:
    for _ in range(2):
        path = tmp_path / "finished"
        path.write_bytes(b"from a codec")

        digest = artifacts.adopt(path)

        assert artifacts.get(digest) == b"from a codec"
        assert not path.exists()


def test_the_local_file_is_not_for_writing(artifacts: Artifacts) -> None:
    path = artifacts.path(artifacts.put(b"fixed"))

    assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


@pytest.mark.parametrize("name", ["get", "path"])
def test_what_is_not_there_is_named(artifacts: Artifacts, name: str) -> None:
    absent = digest_of(b"never put")

    with pytest.raises(NotFound, match=absent):
        getattr(artifacts, name)(absent)
    assert not artifacts.has(absent)


@settings(max_examples=50, deadline=None)
@given(digest=text(max_size=80))
def test_what_is_no_digest_names_no_file(artifacts: Artifacts, digest: str) -> None:
    for name in (digest, f"sha256:{digest}", "sha256:../../../../etc/passwd", f"sha256:{'A' * 64}"):
        with pytest.raises(NotFound):
            artifacts.get(name)


def test_all_that_was_put_is_listed(artifacts: Artifacts) -> None:
    put = {artifacts.put(str(number).encode()) for number in range(20)}

    assert put <= set(artifacts)


def test_what_is_whole_has_no_fault_and_what_is_not_there_is_deleted(artifacts: Artifacts) -> None:
    assert artifacts.fault(artifacts.put(b"whole")) == ""
    assert artifacts.fault("sha256:" + "0" * 64) == "deleted"
