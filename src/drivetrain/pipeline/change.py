"""What differs between what a key is made of now and what an earlier one was made of, in words and line by line."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING, NamedTuple

from drivetrain.pipeline.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivetrain.pipeline.run import StepRun
    from drivetrain.store.artifact import Artifact
    from drivetrain.store.ledger import Ledger

_FAMILIES = (
    *("code", "module", "constant", "setting", "input", "file", "environment"),
    *("package", "declared", "annotation", "role"),
)
_WITH_TEXT = ("code", "module", "constant")
# Values up to this length are shown as they are; longer ones line by line.
_SHORT = 60


class Changes(NamedTuple):
    """A sentence for each thing that changed, and a line diff for each of which the text is known."""

    reasons: list[str]
    diffs: list[str]


def changes_since(
    last: StepRun,
    made_of: Mapping[str, str],
    *,
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, str],
    ledger: Ledger,
) -> Changes:
    """Return what changed since a step ran: to what its key is made of now, with the inputs and sources of now."""

    def text(digest: str) -> str:
        if digest in sources:
            return sources[digest]
        kept = ledger.get(Source, digest)
        return kept.text if kept is not None else ""

    rows = {name: (last.inputs[name].rows, artifact.rows) for name, artifact in inputs.items() if name in last.inputs}
    return changes(last.ingredients, made_of, text=text, rows=rows)


def changes(
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    text: Callable[[str], str] = lambda digest: "",
    rows: Mapping[str, tuple[int | None, int | None]] | None = None,
) -> Changes:
    """Return, for people, what differs between the ingredients of two keys.

    `text` gives the text behind a digest, `rows` the number of rows that an input had and has.

    >>> changes({"setting.depth": "3"}, {"setting.depth": "4"}).reasons
    ['setting depth: 3 → 4']
    """
    reasons, diffs = [], []
    differing = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    for name in sorted(differing, key=_order):
        family, _, rest = name.partition(".")
        old, new = before.get(name), after.get(name)
        # A class, or a function with others in it, changes with what it holds: that is told instead.
        if family == "code" and any(_is_within(other, rest) for other in differing):
            continue
        texts = (text(old), text(new)) if family in _WITH_TEXT and old and new else ("", "")
        # Another version of Python compiles the same text to something else.
        if family in ("code", "module") and "package.python" in differing and texts[0] == texts[1]:
            continue
        reasons.append(_sentence(family, rest, old, new, texts, (rows or {}).get(rest, (None, None))))
        if texts[0] != texts[1] and all(texts) and not (family == "constant" and _are_short(texts)):
            diffs.append(_diff(rest, *texts))
    return Changes(reasons, diffs)


def _sentence(
    family: str,
    name: str,
    old: str | None,
    new: str | None,
    texts: tuple[str, str],
    rows: tuple[int | None, int | None],
) -> str:
    what = "code of" if family == "code" else f"{family} variable" if family == "environment" else family
    if old is None or new is None:
        return f"{what} {name} is {'new' if old is None else 'gone'}"
    if family == "environment" and "unset" in (old, new):
        return f"{what} {name} is {'set now' if old == 'unset' else 'no longer set'}"
    if family == "input" and None not in rows:
        told = f"{rows[0]:,} → {rows[1]:,} rows" if rows[0] != rows[1] else f"{rows[1]:,} rows, as before"
        return f"input {name} changed: {told}"
    if family == "constant" and all(texts) and _are_short(texts):
        return f"constant {name}: {texts[0]} → {texts[1]}"
    if family in ("code", "module", "constant", "input", "file", "environment"):
        return f"{what} {name} changed"
    return f"{what} {name}: {old} → {new}"


def _diff(name: str, old: str, new: str) -> str:
    lines = unified_diff(old.splitlines(), new.splitlines(), f"{name} as it ran", f"{name} now", lineterm="", n=1)
    return "\n".join(lines)


def _order(name: str) -> tuple[int, str]:
    family = name.partition(".")[0]
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES), name


def _is_within(other: str, name: str) -> bool:
    return other.startswith((f"code.{name}.", f"constant.{name}."))


def _are_short(texts: tuple[str, str]) -> bool:
    return all(len(text) <= _SHORT and "\n" not in text for text in texts)
