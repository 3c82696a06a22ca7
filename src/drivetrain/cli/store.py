"""Look after the store: check it, free space, delete, pin and move runs, make and put back backups."""

from __future__ import annotations

from argparse import SUPPRESS
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import kept_store, make_store
from drivetrain.cli.screen import counted
from drivetrain.data.duration import duration as length_of
from drivetrain.experiments.remark import run_named
from drivetrain.monitoring.transfer import export_everything, export_runs, import_archive
from drivetrain.pipeline import curve
from drivetrain.pipeline.leftover import find_leftovers
from drivetrain.pipeline.retention import delete_expendable, delete_runs, expendable, pin, unpin
from drivetrain.pipeline.runner import mark_interrupted
from drivetrain.security.actor import actor
from drivetrain.security.event import Event, record_event
from drivetrain.serving.damage import diagnose
from drivetrain.store.fsck import set_aside
from drivetrain.store.garbage import WHY, collect, find_garbage
from drivetrain.store.size import size_of, spoken
from drivetrain.system.settings import find_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen
    from drivetrain.serving.damage import Finding
    from drivetrain.store.garbage import Garbage
    from drivetrain.store.store import Store

_DAMAGED = "damaged"
_RUN = "a run's id, `latest`, or a version such as lateness@3 for the run that trained it"


def arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> ArgumentParser:
        made = actions.add_parser(name, help=text, description=text)
        # They may stand behind the action as well as before it.
        made.add_argument("--json", action="store_true", default=SUPPRESS, help=SUPPRESS)
        made.add_argument("--debug", action="store_true", default=SUPPRESS, help=SUPPRESS)
        made.add_argument("--profile", default=SUPPRESS, help=SUPPRESS)
        return made

    action("size", "say how much room the store takes, and for what")
    fsck = action("fsck", "verify every artifact and every row, and say what a damage affects; 1 where there is one")
    fsck.add_argument("--repair", action="store_true", help="set what is damaged aside, so that its steps run again")
    gc = action("gc", "free the space of what no run, version or other row needs")
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    gc.add_argument("--older-than", default="1d", metavar="AGE", help="only what is older: 12h, 30d (1d by default)")
    gc.add_argument("--keep-runs", type=int, metavar="N", help="delete old runs too, but the N newest of each system")
    delete = action("delete", "delete runs that nothing needs; their space is freed by gc")
    delete.add_argument("runs", nargs="+", metavar="RUN", help=_RUN)
    delete.add_argument("--reason", default="by hand", help="why; it is recorded")
    pinning = action("pin", "keep a run, whatever else happens")
    pinning.add_argument("runs", nargs=1, metavar="RUN", help=_RUN)
    pinning.add_argument("--reason", required=True, help="why; it is recorded")
    export = action("export", "write runs, or everything as a backup, into one file")
    export.add_argument("runs", nargs="*", metavar="RUN", help=f"{_RUN}; without any, everything is written")
    export.add_argument("--output", metavar="FILE", required=True, help="the archive, such as runs.tar")
    export.add_argument("--without-versions", action="store_true", help="leave out the versions that the runs trained")
    importing = action("import", "take in what an archive holds; twice is the same as once")
    importing.add_argument("archive", metavar="FILE", help="what `drivetrain store export` wrote")
    signing = action("sign", "vouch for pickles that came from elsewhere, so that they can be read")
    signing.add_argument("artifacts", nargs="+", metavar="DIGEST", help="an artifact's digest; the refusal names it")
    unpinning = action("unpin", "take the pin out of a run")
    unpinning.add_argument("runs", nargs=1, metavar="RUN", help=_RUN)


def execute(options: Namespace, screen: Screen) -> Any:
    result: dict[str, Any] = _ACTIONS[options.action](options, screen)
    return {"action": options.action, **result}


def show(result: Any, screen: Screen) -> None:
    _SHOWS[result["action"]](result, screen)


def exit_code(result: Any) -> int:
    """Return 1 where the store is damaged."""
    return int(result.get("state") == _DAMAGED)


def _size(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    return {"size": size_of(store)}


def _show_size(result: Any, screen: Screen) -> None:
    size = result["size"]
    rows = [(share.format, share.artifacts, spoken(share.size_bytes)) for share in size.formats]
    most = ", ".join(f"{count:,} {name}" for name, count in list(size.rows.items())[:3])
    rows += [(f"ledger: {most}", None, spoken(size.ledger_bytes)), ("other files", None, spoken(size.other_bytes))]
    screen.table(("what", "artifacts", "size"), rows, right=("artifacts", "size"))
    screen.line()
    biggest = [(f"{digest[:19]}…", spoken(size_bytes), row) for digest, size_bytes, row in size.biggest]
    if biggest:
        screen.table(("biggest", "size", "mentioned by"), biggest, right=("size",))


def _fsck(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    # Runs go on meanwhile; nothing is taken away between the reading of a row and of what it mentions.
    with store.sharing(), screen.bar("reading artifacts") as progress:
        found = diagnose(store, progress=progress)
    moved = set_aside(store, [finding.damage for finding in found.findings]) if options.repair else []
    if any(finding.damage.kind == "curve changed" for finding in found.findings) and options.repair:
        moved += [f"curve {number}" for number in curve.set_aside(store)]
    if moved:
        _record(store, "store.repaired", f"{len(moved)} damaged things were set aside")
    seen, count = found.examination, len(found.findings)
    # An empty store stays empty, so that a backup can be brought into it.
    if seen.rows and all(each.damage.kind != "ledger unreadable" and not _is_event(each) for each in found.findings):
        told = f"damages were found: {count}, of which set aside: {len(moved)}" if count else "the store is sound"
        evidence = {
            "damages": count,
            "set_aside": len(moved),
            "artifacts": seen.artifacts,
            "size_bytes": seen.size_bytes,
        }
        record_event(store.ledger, "store.checked", subject="store", message=told, actor=actor(), evidence=evidence)
    is_sound = all(finding.damage.what in moved for finding in found.findings)
    return {"state": "sound" if is_sound else _DAMAGED, "diagnosis": found, "set_aside": moved}


def _is_event(finding: Finding) -> bool:
    """Return whether the chain cannot be gone on with."""
    return any(mention.table == Event.TABLE for mention in finding.damage.rows)


def _show_fsck(result: Any, screen: Screen) -> None:
    found, moved = result["diagnosis"], result["set_aside"]
    for finding in found.findings:
        damage = finding.damage
        screen.line(f"{damage.kind}: {damage.what}", style="bold red")
        screen.line(f"  found    {damage.found}")
        if finding.affects:
            screen.line(f"  affects  {', '.join(finding.affects[:8])}{', …' if len(finding.affects) > 8 else ''}")
        done = f"set aside in quarantine/; {finding.afterwards}".removesuffix("; ")
        screen.line(f"  → {done if damage.what in moved else finding.remedy}")
    seen = found.examination
    for path in seen.leftovers:
        screen.line(f"leftover: {path}", style="dim")
    state = "it is sound" if not found.findings else f"{len(found.findings)} damages"
    read = f"{seen.artifacts:,} artifacts, {spoken(seen.size_bytes)}, {seen.rows:,} rows and {found.points:,} points"
    screen.line(f"{read} read: {state}")


def _gc(options: Namespace, screen: Screen) -> dict[str, Any]:
    older_than = _age(options.older_than)
    store = kept_store(options)
    seconds, keep = older_than.total_seconds(), options.keep_runs
    if options.dry_run:
        runs = expendable(store, keep=keep, older_than=older_than) if keep is not None else []
        gone = {run.id for run in runs}
        garbage = find_garbage(store, older_than_s=seconds, without_runs=gone)
        garbage += find_leftovers(store, older_than_s=seconds, without_runs=gone)
    else:
        with store.alone():
            runs = delete_expendable(store, keep=keep, older_than=older_than, actor=actor()) if keep is not None else []
            mark_interrupted(store.ledger)
            garbage = find_garbage(store, older_than_s=seconds) + find_leftovers(store, older_than_s=seconds)
            collect(garbage)
        if garbage:
            size = spoken(sum(each.size_bytes for each in garbage))
            _record(store, "store.collected", f"{len(garbage)} files that nothing needed were removed: {size}")
    return {"dry_run": options.dry_run, "runs": [run.id for run in runs], "garbage": garbage}


def _show_gc(result: Any, screen: Screen) -> None:
    would = "would go" if result["dry_run"] else "gone"
    rows: list[tuple[str, int, str, str]] = []
    if result["runs"]:
        rows.append(("run", len(result["runs"]), "–", "old, and nothing needs it"))
    for kind, why in WHY.items():
        of_kind: list[Garbage] = [each for each in result["garbage"] if each.kind == kind]
        if of_kind:
            rows.append((kind, len(of_kind), spoken(sum(each.size_bytes for each in of_kind)), why))
    if rows:
        screen.table((would, "how many", "size", "why"), rows, right=("how many", "size"))
    else:
        screen.line("There is nothing to free: everything that is old enough is needed.")


def _delete(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    runs = delete_runs(store, *_named(store, options.runs), actor=actor(), reason=options.reason)
    return {"deleted": [run.id for run in runs]}


def _show_delete(result: Any, screen: Screen) -> None:
    screen.line(f"deleted {', '.join(result['deleted'])}. Next: `drivetrain store gc` frees its space")


def _pin(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    return {"pin": pin(store, *_named(store, options.runs), reason=options.reason, actor=actor())}


def _show_pin(result: Any, screen: Screen) -> None:
    screen.line(f"{result['pin'].run} is kept: {result['pin'].reason}")


def _unpin(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    return {"pin": unpin(store, *_named(store, options.runs), actor=actor())}


def _show_unpin(result: Any, screen: Screen) -> None:
    screen.line(f"{result['pin'].run} is no longer pinned")


def _export(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    path = Path(options.output)
    if options.runs:
        exported = export_runs(store, _named(store, options.runs), path, without_versions=options.without_versions)
    else:
        exported = export_everything(store, path)
    return {"exported": exported}


def _show_export(result: Any, screen: Screen) -> None:
    done = result["exported"]
    held = done.manifest
    screen.line(
        f"wrote {done.path}: {counted(len(held.runs), 'run')}, {counted(held.rows, 'row')}, "
        f"{counted(len(held.artifacts), 'artifact')}, "
        f"{spoken(done.size_bytes)}"
    )
    if held.missing:
        screen.line(
            f"missing from this store: {counted(len(held.missing), 'artifact')}; see `drivetrain store fsck`",
            style="red",
        )
    if done.left_out:
        screen.line(f"not in it, as they are not Drivetrain's: the tables {', '.join(done.left_out)}")


def _import(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = make_store(find_project(profile=options.profile))
    return {"imported": import_archive(store, Path(options.archive), actor=actor())}


def _show_import(result: Any, screen: Screen) -> None:
    done = result["imported"]
    if done.rows or done.artifacts or done.curves:
        counts = (counted(len(done.runs), "run"), counted(done.rows, "row"), counted(done.artifacts, "artifact"))
        screen.line(f"new here: {', '.join(counts)}, {spoken(done.size_bytes)}. Next: `drivetrain runs`")
    else:
        screen.line("All that is in it is here already.")


def _sign(options: Namespace, screen: Screen) -> dict[str, Any]:
    store = kept_store(options)
    with store.sharing():
        for digest in options.artifacts:
            store.signatures.sign(digest, store.artifacts.path(digest))
            _record(store, "store.signed", f"the pickle {digest} can be read here from now on")
    return {"signed": options.artifacts}


def _show_sign(result: Any, screen: Screen) -> None:
    screen.line(f"signed {', '.join(result['signed'])}: reading it can run any code that its maker put in")


def _named(store: Store, names: list[str]) -> list[str]:
    """Return the ids of the runs that are named so."""
    return [run_named(store.ledger, name).id for name in names]


def _record(store: Any, kind: str, message: str) -> None:
    record_event(store.ledger, kind, subject="store", message=message, actor=actor())


def _age(text: str) -> timedelta:
    return timedelta() if text in ("0", "0s", "0d") else length_of(text, "--older-than")


_ACTIONS = {
    "size": _size, "fsck": _fsck, "gc": _gc, "delete": _delete, "pin": _pin, "unpin": _unpin, "export": _export,
    "import": _import, "sign": _sign,
}  # fmt: skip
_SHOWS = {
    "size": _show_size, "fsck": _show_fsck, "gc": _show_gc, "delete": _show_delete, "pin": _show_pin,
    "unpin": _show_unpin, "export": _show_export, "import": _show_import, "sign": _show_sign,
}  # fmt: skip
