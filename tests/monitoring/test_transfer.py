"""Runs and backups go from store to store whole, once, and only where they fit; a bad archive changes nothing."""

import io
import pkgutil
import random
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.project import Project

import drivetrain
from drivetrain.errors import BadArchive, CorruptLedger, NotFound, Refused
from drivetrain.monitoring.transfer import KINDS, export_everything, export_runs, import_archive
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.run import Run, StepRun
from drivetrain.registry.version import AliasChange, Version
from drivetrain.security.event import Event, broken_link, record_event
from drivetrain.store.digest import digest_of
from drivetrain.store.record import Record
from drivetrain.store.rows import rows
from drivetrain.store.store import Store

SYSTEM = """
import drivetrain as dt


@dt.step
def numbers(n: int = 3) -> list[int]:
    dt.log("n", n)
    return list(range(n))


@dt.step
def total(numbers: list[int]) -> int:
    return sum(numbers)
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project on a cluster that nothing reaches: three runs, the last of which took a step from the first."""
    project = Project(tmp_path_factory.mktemp("far"))
    project.write(SYSTEM)
    for n in (3, 4):
        project.json("run", "--set", f"numbers.n={n}")
    project.write(SYSTEM.replace("sum(numbers)", "sum(numbers) + 1"))
    project.json("run", "--set", "numbers.n=3")
    return project


@pytest.fixture
def archive(far: Project, tmp_path: Path) -> Path:
    store = far.store()
    export_everything(store, tmp_path / "all.tar")
    store.close()
    return tmp_path / "all.tar"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "home")
    yield store
    store.close()


def contents(store: Store) -> list[Any]:
    """Return all rows but the events of importing, and all artifacts."""
    return [
        sorted((row.table, str(row), repr(sorted(row.values.items()))) for row in rows(store.ledger)
               if row.values.get("kind") != "store.imported"),
        sorted(store.artifacts),
    ]  # fmt: skip


def test_every_noun_of_the_ledger_can_be_moved() -> None:
    for module in pkgutil.walk_packages(drivetrain.__path__, "drivetrain."):
        if module.name.split(".")[1] not in ("__main__", "cli", "store"):
            with suppress(ModuleNotFoundError):  # a vendor's
                import_module(module.name)

    ours = {kind for kind in Record.__subclasses__() if kind.__module__.startswith("drivetrain.")}

    assert ours == set(KINDS), "add the new noun to KINDS: a backup without it is none"


def test_a_backup_brings_everything_back_and_twice_is_once(far: Project, archive: Path, home: Store) -> None:
    first, second = (import_archive(home, archive, actor="ada") for _ in range(2))

    there = far.store()
    assert contents(home) == contents(there)
    assert len(first.runs) == 3
    assert (second.rows, second.artifacts) == (0, 0)
    events = home.ledger.find(Event, order="number")
    assert broken_link(events) is None
    assert [event.kind for event in events].count("store.imported") == 1


def test_runs_come_home_and_their_steps_do_not_run_again(far: Project, project: Project) -> None:
    last = far.json("runs")[0]["run"]["id"]
    file = project.root / "runs.tar"
    far.command("store", "export", last, "--output", str(file))
    project.write((far.root / "system.py").read_text())

    for new in (2, 0):  # with the run that it took a step from
        assert len(project.json("store", "import", "runs.tar")["imported"]["runs"]) == new

    assert {step["state"] for step in project.json("run", "--set", "numbers.n=3")["steps"]} == {"cached"}
    assert {found["verdict"] for found in project.json("why")} == {"hit"}
    assert project.json("show", last)["run"]["id"] == last
    assert project.json("store", "fsck")["state"] == "sound"
    store = project.store()
    assert store.ledger.find(Figure)
    assert broken_link(store.ledger.find(Event, order="number")) is None


def test_what_is_here_already_stays_beside_it(far: Project, project: Project) -> None:
    project.write(SYSTEM.replace("n: int = 3", "n: int = 9"))
    mine = project.json("run")["run"]["id"]
    store, there = project.store(), far.store()
    export_runs(there, [run.id for run in there.ledger.find(Run)], project.root / "runs.tar")

    import_archive(store, project.root / "runs.tar", actor="ada")

    assert len(store.ledger.find(Run)) == 4
    assert store.ledger.get(Run, mine) is not None


def test_a_store_that_was_found_empty_and_sound_takes_a_backup(archive: Path, project: Project) -> None:
    project.write(SYSTEM)
    project.store().close()

    assert project.json("store", "fsck")["state"] == "sound"
    assert len(project.json("store", "import", str(archive))["imported"]["runs"]) == 3


def test_a_backup_of_another_store_is_refused(archive: Path, home: Store) -> None:
    record_event(home.ledger, "run.finished", subject="run-1", message="Another life.")
    before = contents(home)

    with pytest.raises(BadArchive, match="a backup of another store"):
        import_archive(home, archive, actor="ada")

    assert contents(home) == before


def test_a_row_that_contradicts_one_that_is_here_is_refused_and_named(archive: Path, home: Store) -> None:
    import_archive(home, archive, actor="ada")
    run = home.ledger.find(Run)[1]
    home.ledger.write(msgspec.structs.replace(run, reason="another one"))
    home.ledger.delete(Run, home.ledger.find(Run)[0].id)
    before = contents(home)

    with pytest.raises(BadArchive, match=rf"its run {run.id} is another one"):
        import_archive(home, archive, actor="ada")

    assert contents(home) == before


def test_what_is_damaged_here_is_mended(far: Project, archive: Path, home: Store) -> None:
    import_archive(home, archive, actor="ada")
    spoiled = home.artifacts.place(next(iter(home.artifacts)))
    spoiled.chmod(0o644)
    spoiled.write_bytes(b"nothing")
    home.ledger.query("UPDATE step_run SET seconds = 99")

    import_archive(home, archive, actor="ada")

    assert contents(home) == contents(far.store())
    assert [path.read_bytes() for path in (home.root / "quarantine").iterdir()] == [b"nothing"]


def test_what_cannot_be_exported_is_told_and_leaves_no_file(far: Project, tmp_path: Path) -> None:
    shutil.copytree(far.root / ".drivetrain", tmp_path / "copy")
    store = Store.open(tmp_path / "copy")
    run = store.ledger.find(Run)[0]
    store.ledger.write(msgspec.structs.replace(run, id="run-now", state="running"))

    for name, error in (("run-9", NotFound), ("run-now", Refused)):
        with pytest.raises(error):
            export_runs(store, [name], tmp_path / "out.tar")
    store.ledger.query("UPDATE figure SET value = 5")
    with pytest.raises(CorruptLedger):
        export_everything(store, tmp_path / "out.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def repacked(archive: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """Write the archive again with other contents: those a person would forge, with a manifest that fits."""
    with tarfile.open(archive) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    manifest = msgspec.json.decode(members.pop("manifest.json"))
    change(members, manifest)
    manifest["rows_bytes"], manifest["rows_digest"] = len(members["rows.jsonl"]), digest_of(members["rows.jsonl"])
    manifest["rows"] = members["rows.jsonl"].count(b"\n")
    out = archive.with_name("forged.tar")
    with tarfile.open(out, "w") as tar:
        for name, data in ({"manifest.json": msgspec.json.encode(manifest)} | members).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out


def row(table: str, **values: Any) -> bytes:
    return msgspec.json.encode({"table": table, "values": values}) + b"\n"


def add_row(table: str, **values: Any) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        members["rows.jsonl"] += row(table, **values)

    return change


def later_form(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["drivetrain_archive"] = 2
    manifest["something"] = "new"


def path_outside(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["artifacts/sha256/../../../evil"] = b"x"
    manifest["artifacts"]["sha256:../../../evil"] = 1


def unnamed_member(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["/etc/cron.d/evil"] = b"x"


def wrong_bytes(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = next(name for name in members if name.startswith("artifacts"))
    members[name] = b"x" * len(members[name])


def absent_artifact(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del members[next(name for name in members if name.startswith("artifacts"))]


def artifact_left_out(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del members[next(name for name in members if name.startswith("artifacts"))]
    del manifest["artifacts"][next(iter(manifest["artifacts"]))]


def row_twice(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    first = members["rows.jsonl"].splitlines(keepends=True)[0]
    members["rows.jsonl"] += first


def event_left_out(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    lines = members["rows.jsonl"].splitlines(keepends=True)
    lines.remove(next(line for line in lines if b'"table":"event"' in line))
    members["rows.jsonl"] = b"".join(lines)


def champion_in_runs(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["kind"] = "runs"
    members["rows.jsonl"] = row(
        "alias_change", id="alias-1", model="m", alias="champion", version="m@1", at="2026-01-01T00:00:00+00:00",
        reason="evil", actor="evil",
    )  # fmt: skip


FORGERIES: dict[str, Callable[[dict[str, bytes], dict[str, Any]], None]] = {
    "update drivetrain": later_form,
    "no digest": path_outside,
    "does not name": unnamed_member,
    "does not have the digest": wrong_bytes,
    "not whole": absent_artifact,
    "not in it": artifact_left_out,
    "twice": row_twice,
    "another store": event_left_out,
    "not to be imported": champion_in_runs,
    "rows of 'sqlite_master'": add_row("sqlite_master", name="x"),
    "unknown to this version": add_row("figure", run="r", kind="metric", name="n", value=1.0, other=1),
    "does not fit": add_row("figure", run="r", kind="metric", name="n", value="much"),
    "does not fit the table step_run": add_row("step_run", run="r", step="s", inputs="{"),
    "number that no ledger": add_row("figure", run="r", kind="metric", name="n", curve=2**70, value=1.0),
}


@pytest.mark.parametrize("told", FORGERIES)
def test_a_forged_archive_is_refused_and_changes_nothing(archive: Path, home: Store, told: str) -> None:
    forged = repacked(archive, FORGERIES[told])
    before = contents(home)

    with pytest.raises(BadArchive) as caught:
        import_archive(home, forged, actor="ada")

    assert told in str(caught.value)
    assert contents(home) == before
    assert not list((home.root / "artifacts" / "partial").iterdir())


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_a_member_that_is_no_plain_file_is_refused(archive: Path, home: Store, kind: bytes) -> None:
    with tarfile.open(archive, "a") as tar:
        member = tarfile.TarInfo("artifacts/sha256/aa/" + "a" * 62)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)

    with pytest.raises(BadArchive):
        import_archive(home, archive, actor="ada")
    assert contents(home)[1] == []


@pytest.mark.parametrize("size_bytes", [1 << 33, (1 << 62) + 512, (1 << 71) - 1])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_member_that_claims_a_huge_size_is_refused(tmp_path: Path, home: Store, size_bytes: int, kind: bytes) -> None:
    member = tarfile.TarInfo("manifest.json")
    member.size, member.type = size_bytes, kind
    (tmp_path / "huge.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096)

    with pytest.raises(BadArchive):
        import_archive(home, tmp_path / "huge.tar", actor="ada")


def test_no_cut_and_no_flipped_bit_passes(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    with tarfile.open(archive) as tar:
        end = max(member.offset_data + member.size for member in tar)
    whole = Store.open(tmp_path / "whole")
    import_archive(whole, archive, actor="ada")
    numbers = count()

    @settings(max_examples=150, deadline=None)
    @given(place=st.integers(0, end - 1), bit=st.integers(0, 7), is_cut=st.booleans())
    def spoiled(place: int, bit: int, is_cut: bool) -> None:
        changed = data[:place] if is_cut else data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        (tmp_path / "spoiled.tar").write_bytes(changed)
        home = Store.open(tmp_path / f"home {next(numbers)}")
        try:
            import_archive(home, tmp_path / "spoiled.tar", actor="ada")
        except BadArchive:
            assert contents(home) == [[], []]
        else:  # a bit of a header or of the padding that means nothing, such as the file's owner
            assert not is_cut
            assert contents(home) == contents(whole)
        home.close()

    spoiled()


@pytest.mark.slow
def test_killed_at_any_moment_an_export_leaves_no_archive_and_an_import_all_or_nothing(tmp_path: Path) -> None:
    far = Project(tmp_path / "far")
    far.write("import drivetrain as dt\n" + "".join(
        f"\n\n@dt.step\ndef s{i}() -> bytes:\n    return bytes([{i}]) * 3_000_000\n" for i in range(6)
    ))  # fmt: skip
    far.json("run")
    (tmp_path / "first").mkdir()
    begun = time.monotonic()
    far.command("store", "export", "--output", str(tmp_path / "first.tar"))
    Project(tmp_path / "first").command("store", "import", str(tmp_path / "first.tar"))
    longest_s = (time.monotonic() - begun) * 0.8  # of one of the two: so some are killed, and some end before
    chance = random.Random(3)
    wholes = {"export": 0, "import": 0}
    for attempt in range(10):
        out = tmp_path / f"{attempt}.tar"
        process = far.start("store", "export", "--output", str(out))
        time.sleep(chance.uniform(0.1, longest_s))
        process.kill()
        process.wait()
        for path in tmp_path.glob(f".{attempt}.tar*"):
            with closing(Store.open(tmp_path / f"left by {attempt}")) as left:
                try:
                    import_archive(left, path, actor="ada")
                except BadArchive:
                    assert not left.ledger.find(StepRun)
                else:  # killed when it was whole, and had not got its name yet
                    assert len(left.ledger.find(StepRun)) == 6
        if out.exists():
            wholes["export"] += 1
        else:
            far.command("store", "export", "--output", str(out))
        home = Project(tmp_path / f"home {attempt}")
        home.root.mkdir()
        process = home.start("store", "import", str(out))
        time.sleep(chance.uniform(0.1, longest_s))
        process.kill()
        process.wait()
        store = home.store()
        steps = store.ledger.find(StepRun)
        assert len(steps) in (0, 6)
        assert len(store.ledger.find(Run)) == len(steps) // 6
        assert all(store.artifacts.has(each.digest) for step in steps for each in step.outputs.values())
        wholes["import"] += bool(steps)
        store.close()
        assert home.json("store", "fsck")["state"] == "sound"
        home.json("store", "import", str(out))
        assert len(home.json("runs")) == 1
    assert 0 < wholes["export"] < 10
    assert 0 < wholes["import"] < 10


def test_a_version_comes_home_without_becoming_champion(home: Store, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    far = Project(tmp_path / "far")
    far.root.mkdir()
    far.command("init", ".")
    run = far.json("run")["run"]["id"]
    far.command("store", "export", run, "--output", str(tmp_path / "run.tar"))
    far.command("store", "export", run, "--without-versions", "--output", str(tmp_path / "steps.tar"))

    import_archive(home, tmp_path / "run.tar", actor="ada")

    (version,) = home.ledger.find(Version)
    assert version.run == run
    assert home.ledger.find(AliasChange) == []
    back = Project(tmp_path / "back")
    shutil.copytree(far.root, back.root, ignore=shutil.ignore_patterns(".drivetrain"))
    back.command("store", "import", str(tmp_path / "run.tar"))
    assert back.json("models")["versions"][0]["id"] == version.id
    assert back.json("why", version.id)["version"]["id"] == version.id
    again = back.json("run")
    assert [step["step"] for step in again["steps"] if step["state"] != "cached"] == ["gate"]
    assert back.json("models")["champions"] == {version.model: version.id}
    bare = Store.open(tmp_path / "bare")
    import_archive(bare, tmp_path / "steps.tar", actor="ada")
    assert bare.ledger.find(Version) == []
    contrary = msgspec.structs.replace(version, key="other", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    bare.ledger.write(contrary)
    with pytest.raises(BadArchive, match="--without-versions"):
        import_archive(bare, tmp_path / "run.tar", actor="ada")
