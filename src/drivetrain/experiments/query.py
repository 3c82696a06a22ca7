"""Finding runs: a filter becomes one SQL question with bound values, over runs and their figures."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from drivetrain.errors import BadFilter, nearest
from drivetrain.experiments.filter import Both, Comparison, Either, Not, Token, parse, parse_name, plain, wrong_at
from drivetrain.experiments.remark import Note, Tag
from drivetrain.pipeline.figure import Figure
from drivetrain.pipeline.run import Run, RunState
from drivetrain.registry.version import Version
from drivetrain.store.record import now, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivetrain.experiments.filter import Expression, Operator
    from drivetrain.store.ledger import Ledger

# Where two of these have one name, the first is meant; a metric and a setting of one name must be told apart.
_KINDS = ("metric", "setting", "rows")
# So many runs are sorted by a figure after they were found; more are taken in the order of its index.
FEW = 1000
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d|w)")
_NUMBER = re.compile(r"[+-]?(\d+(_\d+)*)?(\.\d*)?(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)
_TOOK = "(julianday(run.finished_at) - julianday(run.started_at)) * 86400"
_OPPOSITES: dict[Operator, Operator] = {"!=": "=", "!~": "~"}
_COLUMNS = {"last": "value", "": "value", "min": "low", "max": "high"}


class Field(NamedTuple):
    """What every run has: how it is written in SQL, and what it is compared as."""

    sql: str
    form: str


FIELDS = {
    "id": Field("run.id", "text"),
    "state": Field("run.state", "state"),
    "system": Field("run.system", "text"),
    "commit": Field('run."commit"', "prefix"),
    "reason": Field("run.reason", "text"),
    "actor": Field("run.actor", "text"),
    "error": Field("run.error", "text"),
    "started": Field("run.started_at", "moment"),
    "finished": Field("run.finished_at", "moment"),
    "took": Field(_TOOK, "duration"),
    "tag": Field("SELECT tag.tag FROM tag WHERE tag.run = run.id AND tag.is_on", "many"),
    "note": Field("SELECT note.text FROM note WHERE note.run = run.id", "many"),
    "version": Field("SELECT version.id FROM version WHERE version.run = run.id", "many"),
}


class Name(NamedTuple):
    """A figure by its kind and full name; `column` is the one of `Figure` that is meant."""

    kind: str
    name: str
    column: str = "value"
    shown: str = ""


class Found(NamedTuple):
    """The runs that a search found, in order, and the figures that it names."""

    runs: list[Run]
    names: list[Name]


class _Clause(NamedTuple):
    sql: str
    values: list[Any]


def search(
    ledger: Ledger,
    filter: str = "",  # noqa: A002  # as users call it
    *,
    sort: str = "-started",
    limit: int = 20,
    before: str = "",
) -> Found:
    """Return the runs for which a filter holds.

    `sort` is a field or figure, with a leading minus for the largest first; runs that lack it come last. `before` is a
    run's id: only earlier ones are returned.

    Raises:
        BadFilter: the filter or the order cannot be understood.
    """
    asker = _Asker(ledger, filter)
    tree = parse(filter) if filter.strip() else None

    def held(*, one_by_one: bool = False) -> _Clause:
        found = asker.clause(tree, one_by_one=one_by_one) if tree else _Clause("1", [])
        return _Clause(f"run.id < ? AND ({found.sql})", [before, *found.values]) if before else found

    direction = "DESC" if sort.startswith("-") else "ASC"
    name = sort.removeprefix("-").strip()
    ledger.prepare(Run, Figure, Tag, Note, Version)
    if name in FIELDS:
        field = FIELDS[name]
        if field.form == "many":
            raise BadFilter(
                filter=name, start=0, length=len(name), found=f"a run may have several of {name}",
                right="sort by started, took, or a figure such as quality.auc",
            )  # fmt: skip
        chosen = held()
        missing = f"{field.sql} IS NULL, " if name in ("took", "finished") else ""
        ids = asker.select(
            f"FROM run WHERE {chosen.sql} ORDER BY {missing}{field.sql} {direction}, run.id {direction}",
            chosen.values,
            limit,
        )
    else:
        ids = _sorted_by_figure(asker, figure_named(ledger, name), direction, held, limit)
    known = {run.id: run for run in ledger.find(Run, {"id in": ids})} if ids else {}
    runs = [known[each] for each in ids if each in known]
    sorted_by = [] if name in FIELDS else [figure_named(ledger, name)]
    return Found(runs, list(dict.fromkeys([*sorted_by, *asker.names])))


def figure_named(ledger: Ledger, text: str) -> Name:
    """Return the figure that is called `quality.auc`, `min(lateness.loss)` or `setting:lateness.depth`.

    Raises:
        BadFilter: no run has it.
    """
    token, aggregate = parse_name(text)
    return _Asker(ledger, text).figure(token, aggregate)


def figures_of(ledger: Ledger, runs: Sequence[str], names: Sequence[Name]) -> dict[str, dict[Name, Any]]:
    """Return the named figures of runs: a number, or text where it is none."""
    found: dict[str, dict[Name, Any]] = {run: {} for run in runs}
    if not names or not runs:
        return found
    asked = {"run in": list(runs), "name in": list({name.name for name in names})}
    for figure in ledger.find(Figure, asked):
        for name in names:
            if (name.kind, name.name) == (figure.kind, figure.name):
                value = getattr(figure, name.column)
                found[figure.run][name] = figure.text if value is None and figure.text else value
    return found


def _sorted_by_figure(asker: _Asker, name: Name, direction: str, held: Callable[..., _Clause], limit: int) -> list[str]:
    """Return runs in the order of a figure: few are sorted here, of many the index gives the first ones."""
    chosen = held()
    few = asker.select(f"FROM run WHERE {chosen.sql}", chosen.values, FEW + 1)
    column, key = f"sorted.{name.column}", [name.name, name.kind]
    has = f"sorted.name = ? AND sorted.kind = ? AND {column} IS NOT NULL"
    if len(few) <= FEW:
        places = ", ".join("?" * len(few))
        rows = asker.ledger.select(
            f"SELECT sorted.run, {column} FROM figure AS sorted WHERE {has} AND sorted.run IN ({places})",  # noqa: S608  # values are bound
            [*key, *few],
        )
        known = sorted(rows, key=lambda row: (row[1], row[0]), reverse=direction == "DESC")
        ids = [str(row[0]) for row in known]
        return [*ids, *sorted(set(few) - set(ids), reverse=True)][:limit]
    chosen = held(one_by_one=True)
    ids = asker.select(
        f"FROM figure AS sorted CROSS JOIN run ON run.id = sorted.run WHERE {has} AND ({chosen.sql}) "
        f"ORDER BY {column} {direction}, sorted.run {direction}",
        [*key, *chosen.values],
        limit,
    )
    if len(ids) < limit:
        lacking = f"SELECT 1 FROM figure AS sorted WHERE sorted.run = run.id AND {has}"  # noqa: S608  # values are bound
        ids += asker.select(
            f"FROM run WHERE ({chosen.sql}) AND NOT EXISTS ({lacking}) ORDER BY run.id DESC",
            [*chosen.values, *key],
            limit - len(ids),
        )
    return ids


class _Asker:
    """Turns the tree of one filter into SQL: names and operators are ours, values are bound."""

    def __init__(self, ledger: Ledger, text: str) -> None:
        self.ledger, self.text = ledger, text
        self.names: list[Name] = []
        self.one_by_one = False

    def select(self, rest: str, values: Sequence[Any], limit: int) -> list[str]:
        rows = self.ledger.select(f"SELECT run.id {rest} LIMIT ?", [*values, limit])  # values are bound
        return [str(row[0]) for row in rows]

    def clause(self, tree: Expression, *, one_by_one: bool = False) -> _Clause:
        """Return the filter as a condition on `run`.

        By default all runs with a fitting figure are read from its index at once; `one_by_one`, each run's figure is
        looked up, which costs less where the first runs that are looked at already fit.
        """
        self.one_by_one = one_by_one
        return self.part(tree)

    def part(self, tree: Expression) -> _Clause:
        match tree:
            case Not(inner):
                found = self.part(inner)
                return _Clause(f"NOT ({found.sql})", found.values)
            case Both(parts) | Either(parts):
                each = [self.part(part) for part in parts]
                word = " AND " if isinstance(tree, Both) else " OR "
                return _Clause(
                    "(" + word.join(part.sql for part in each) + ")", [v for part in each for v in part.values]
                )
            case Comparison():
                return self.comparison(tree)

    def comparison(self, tree: Comparison) -> _Clause:
        field = FIELDS.get(tree.name.text) if tree.name.kind == "word" and not tree.aggregate else None
        if field is None:
            return self.of_figure(tree)
        match field.form:
            case "moment":
                return self.of_moment(tree, field.sql)
            case "duration":
                return _Clause(f"IFNULL({field.sql} {self.ordering(tree)} ?, 0)", [self.duration(tree)])
            case "many":
                return self.of_many(tree, field.sql)
            case "prefix":
                return self.of_prefix(tree, field.sql)
        value = plain(tree.value)
        if field.form == "state" and tree.operator in ("=", "!=") and value not in get_args(RunState):
            known = get_args(RunState)
            raise wrong_at(self.text, tree.value, f"no run is ever {value!r}", nearest(value, known))
        return self.of_text(tree, field.sql, value)

    def of_text(self, tree: Comparison, sql: str, value: str) -> _Clause:
        if tree.operator in ("~", "!~"):
            sign = ">" if tree.operator == "~" else "="
            return _Clause(f"instr(lower({sql}), lower(?)) {sign} 0", [value])
        if tree.operator not in ("=", "!="):
            raise wrong_at(
                self.text, tree.name, f"{tree.name.text} is text, which has no order",
                f"use =, != or ~, as in {tree.name.text} ~ {value}",
            )  # fmt: skip
        return _Clause(f"{sql} {tree.operator} ?", [value])

    def of_prefix(self, tree: Comparison, sql: str) -> _Clause:
        value = plain(tree.value)
        if tree.operator in ("=", "!=") and value:
            return _Clause(f"substr({sql}, 1, ?) {tree.operator} ?", [len(value), value])
        return self.of_text(tree, sql, value)

    def of_many(self, tree: Comparison, sql: str) -> _Clause:
        column, value = sql.split(" ")[1], plain(tree.value)
        # A run that lacks a tag is one whose tags are all others: `!=` is the opposite of `=`.
        positive = _OPPOSITES.get(tree.operator, tree.operator)
        held = self.of_text(Comparison(name=tree.name, operator=positive, value=tree.value), column, value)
        opposite = "NOT " if positive != tree.operator else ""
        return _Clause(f"{opposite}EXISTS ({sql} AND {held.sql})", held.values)

    def of_moment(self, tree: Comparison, sql: str) -> _Clause:
        operator, text = self.ordering(tree), plain(tree.value)
        ago = _DURATION.fullmatch(text)
        try:
            moment = now() - timedelta(seconds=_seconds(ago)) if ago else datetime.fromisoformat(text)
            is_day = not ago and len(text) <= 10
            starts, ends = utc(moment), utc(moment) + timedelta(days=1)
        except (ValueError, OverflowError) as error:
            raise wrong_at(
                self.text, tree.value, f"{text!r} is no moment",
                "write a day, 2026-11-01, a moment in UTC, 2026-11-01T14:30, or how long ago: 90min, 12h, 7d",
            ) from error  # fmt: skip
        if operator in ("=", "!=") and is_day:
            opposite = "NOT " if operator == "!=" else ""
            return _Clause(f"{opposite}IFNULL({sql} >= ? AND {sql} < ?, 0)", [_iso(starts), _iso(ends)])
        return _Clause(f"IFNULL({sql} {operator} ?, 0)", [_iso(starts)])

    def of_figure(self, tree: Comparison) -> _Clause:
        name = self.figure(tree.name, tree.aggregate)
        value = plain(tree.value)
        number = _number(value) if tree.value.kind == "word" else None
        if tree.operator in ("~", "!~") or number is None:
            if name.kind == "metric" or name.kind == "rows" or name.column != "value":
                right = f"write a number, as in {tree.name.text} > 0.7"
                raise wrong_at(self.text, tree.value, f"{tree.name.text} is a number, and {value!r} is none", right)
            held = self.of_setting(tree, value)
        else:
            held = _Clause(f"figure.{name.column} {tree.operator} ?", [number])
        values = [name.name, name.kind, *held.values]
        which = f"figure WHERE figure.name = ? AND figure.kind = ? AND {held.sql}"
        if self.one_by_one:
            return _Clause(f"EXISTS (SELECT 1 FROM {which} AND figure.run = run.id)", values)  # noqa: S608  # values are bound
        return _Clause(f"run.id IN (SELECT figure.run FROM {which})", values)  # noqa: S608  # values are bound

    def of_setting(self, tree: Comparison, value: str) -> _Clause:
        if tree.operator in ("~", "!~"):
            held = self.of_text(tree, "figure.text", value)
            return _Clause(f"figure.text != '' AND {held.sql}", held.values)  # a number has no text
        return _Clause(f"figure.text != '' AND figure.text {tree.operator} ?", [value])

    def figure(self, token: Token, aggregate: str) -> Name:
        """Return the figure that a name means, and remember that it was asked for."""
        text = plain(token)
        prefix, colon, rest = text.partition(":")
        wanted = [prefix] if colon and prefix in _KINDS else list(_KINDS)
        name = rest if colon and prefix in _KINDS else text
        self.ledger.prepare(Figure)
        kinds = [
            kind
            for kind in wanted
            if self.ledger.select("SELECT 1 FROM figure WHERE name = ? AND kind = ? LIMIT 1", (name, kind))
        ]
        if not kinds:
            raise wrong_at(self.text, token, f"no field, metric or setting is named {name!r}", self.proposed(name))
        if kinds[:2] == ["metric", "setting"]:
            raise wrong_at(
                self.text, token, f"{name!r} is a metric and a setting", f"write metric:{name} or setting:{name}"
            )
        shown = f"{aggregate}({text})" if aggregate else text
        found = Name(kinds[0], name, _COLUMNS[aggregate], shown)
        self.names.append(found)
        return found

    def proposed(self, name: str) -> str:
        known = [str(row[0]) for row in self.ledger.select("SELECT DISTINCT name FROM figure LIMIT 5000")]
        ends = sorted(each for each in known if each.endswith(f".{name}"))
        if ends:
            return f"write it with its step: {' or '.join(ends[:3])}"
        return nearest(name, [*FIELDS, *known])

    def ordering(self, tree: Comparison) -> str:
        if tree.operator in ("~", "!~"):
            raise wrong_at(self.text, tree.name, f"{tree.name.text} is not text", "use =, !=, <, <=, > or >=")
        return tree.operator

    def duration(self, tree: Comparison) -> float:
        text = plain(tree.value)
        match = _DURATION.fullmatch(text)
        number = _seconds(match) if match else _number(text)
        if number is None:
            raise wrong_at(
                self.text, tree.value, f"{text!r} is no length of time", "write a number and ms, s, min, h, d or w: 10s"
            )
        return number


def _seconds(match: re.Match[str]) -> float:
    return float(match[1]) * _UNITS_S[match[2]]


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
