"""The graph of a system as a picture: as SVG for the console, and as text for the terminal."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.system.part import Part
    from drivetrain.system.system import System

NODE_WIDTH, NODE_HEIGHT, GAP_X, GAP_Y, MARGIN = 188, 52, 28, 40, 6
# How often the order in the layers is improved, down and up again; graphs of this size settle in two or three.
SWEEPS = 6


class Mark(NamedTuple):
    """How a part is drawn: its state, which is a class of the style sheet, a line of text, and where a click leads."""

    state: str = ""
    caption: str = ""
    link: str = ""


class _Layout(NamedTuple):
    """Rows of names from first to last; a name that is a pair is a bend of a long arrow."""

    rows: list[list[str]]
    # Each arrow as the names it passes, bends included.
    routes: list[list[str]]
    bends: frozenset[str]


def svg(system: System, states: Mapping[str, Mark] | None = None) -> str:
    """Return the graph as an SVG element; with states, its colours are those of the page's style sheet."""
    marks = states or {}
    layout = _laid_out(system)
    wide = max([NODE_WIDTH, *(_room(name, part.ROLE) for name, part in system.parts.items())])
    across = _placed(layout, [wide if name not in layout.bends else 24 for row in layout.rows for name in row])
    down = {name: MARGIN + index * (NODE_HEIGHT + GAP_Y) for index, row in enumerate(layout.rows) for name in row}
    width = max((x + wide / 2 for x in across.values()), default=wide) + MARGIN
    height = len(layout.rows) * (NODE_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        f'role="group" aria-label="The parts of {escape(system.name)} and how they depend on each other">',
        "" if states is not None else f"<style>{_STYLE}</style>",
    ]
    for route in layout.routes:
        x, y = across[route[0]], down[route[0]] + NODE_HEIGHT
        path = f"M{x:.1f} {y}"
        for name in route[1:]:
            to_x, to_y = across[name], down[name]
            path += f"C{x:.1f} {y + GAP_Y * 0.55:.1f} {to_x:.1f} {to_y - GAP_Y * 0.55:.1f} {to_x:.1f} {to_y}"
            x, y = to_x, to_y
            if name in layout.bends:
                y += NODE_HEIGHT
                path += f"V{y}"
        kind = " is-condition" if _is_condition(system, route[0], route[-1]) else ""
        ends = f'data-from="{escape(route[0])}" data-to="{escape(route[-1])}"'
        drawn.append(f'<path class="edge{kind}" {ends} d="{path}"/>')
        drawn.append(f'<path class="edge-tip" d="M{x - 3.5:.1f} {y - 6}L{x:.1f} {y - 0.5}L{x + 3.5:.1f} {y - 6}"/>')
    for name, part in system.parts.items():
        mark = marks.get(name, Mark())
        left, top = across[name] - wide / 2, down[name]
        # Without a line below it, the name stands in the middle.
        line = top + (19 if mark.caption else NODE_HEIGHT // 2)
        link = f' href="{escape(mark.link)}"' if mark.link else ""
        kind = " is-conditional" if part.conduct.condition else ""
        size = f'width="{wide}" height="{NODE_HEIGHT}" rx="9"'
        # A mapped part is a stack.
        behind = f'<rect class="node-behind" x="{left + 4:.1f}" y="{top + 4}" {size}/>' if part.conduct.each else ""
        drawn.append(
            f'<a{link} class="node is-{escape(mark.state or "none")}{kind}" data-part="{escape(name)}">'
            f"<title>{escape(f'{name}, {_told(part)}: {mark.state}')}</title>"
            f'{behind}<rect x="{left:.1f}" y="{top}" {size}/>'
            f'<circle cx="{left + 17:.1f}" cy="{line}" r="4"/>'
            f'<text class="node-name" x="{left + 29:.1f}" y="{line + 4}">{escape(_short(name, 18))}</text>'
            f'<text class="node-role" x="{left + wide - 12:.1f}" y="{line + 4}">{escape(part.ROLE)}</text>'
            f'<text class="node-caption" x="{left + 29:.1f}" y="{top + 41}">{escape(_short(mark.caption, 27))}</text>'
            "</a>"
        )
    return "".join([*drawn, "</svg>"])


def _room(name: str, role: str) -> int:
    """Return how wide a node must be for its name and role, in the widest of the usual typefaces."""
    return 29 + round(8.7 * len(_short(name, 18))) + 12 + round(6.7 * len(role)) + 12


def _told(part: Part) -> str:
    """Return a part's role, with what it is mapped over and what must be true for it."""
    each = "".join(f", for each {word}" for word in part.conduct.each)
    return f"{part.ROLE}{each}" + (f", when {part.conduct.condition}" if part.conduct.condition else "")


def _is_condition(system: System, start: str, end: str) -> bool:
    """Return whether an arrow stands for a condition alone."""
    needed = {system.producers[need].name for need in system.needs[end].values()}
    waited = {system.producers[each].name for each in system.parts[end].waits()}
    return start in waited and start not in needed


def html(system: System) -> str:
    """Return a page that holds nothing but the graph."""
    name = escape(system.name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<title>{name}</title><body style="margin:24px">{svg(system)}</body></html>\n'
    )


# The colours of a drawing that stands alone.
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#6b6d75}.node-name{font-weight:600;fill:#17181a}"
    ".node-role{text-anchor:end}.node rect{fill:#fff;stroke:#d3d2ce}.node circle{fill:#2f55d4}"
    ".edge,.edge-tip{fill:none;stroke:#9a9ba0;stroke-width:1.5}.edge.is-condition{stroke-dasharray:4 4}"
    ".node.is-conditional rect{stroke-dasharray:5 4}"
    "svg{color-scheme:light dark}@media(prefers-color-scheme:dark){text{fill:#8b909a}.node-name{fill:#eceef0}"
    ".node rect{fill:#15171a;stroke:#3a3e45}.node circle{fill:#86a2ff}}"
)
# The box-drawing character for the directions that meet in a cell: 1 up, 2 right, 4 down, 8 left.
_LINES = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"


def text(system: System) -> str:
    """Return the graph as lines of text for the terminal: a box for each part, its role on the upper edge.

    >>> from drivetrain.system.function import step
    >>> from drivetrain.system.system import System
    >>> @step
    ... def one() -> int:
    ...     return 1
    >>> @step
    ... def two(one: int) -> int:
    ...     return one + 1
    >>> print(text(System("numbers", one, two)))
    ╭ step ─╮
    │ one   │
    ╰───┬───╯
    ╭ step ─╮
    │ two   │
    ╰───────╯
    """
    layout = _laid_out(system)
    roles = {name: _told(part) for name, part in system.parts.items()}
    if not roles:
        return ""
    wide = {name: max(len(name), len(roles[name]) + 1) + 4 for name in roles}
    widths = [wide.get(name, 1) for row in layout.rows for name in row]
    across = {name: round(x) for name, x in _placed(layout, widths, gap=2).items()}
    lines: dict[tuple[int, int], int] = {}
    letters: dict[tuple[int, int], str] = {}
    y = 0
    for index, row in enumerate(layout.rows):
        for name in row:
            if name in layout.bends:
                _line(lines, (across[name], y - 1), (across[name], y + 3))
                continue
            left = across[name] - wide[name] // 2
            role = f"╭ {roles[name]} ".ljust(wide[name] - 1, "─") + "╮"
            body = f"│ {name}".ljust(wide[name] - 1) + "│"
            for down, line in enumerate((role, body, "╰" + "─" * (wide[name] - 2) + "╯")):
                letters |= {(left + x, y + down): letter for x, letter in enumerate(line)}
        pairs = [hop for route in layout.routes for hop in pairwise(route) if hop[0] in row]
        hops = [(*_columns(start, end, across, wide), end) for start, end in dict.fromkeys(pairs)]
        tracks = _tracks(hops)
        gap = max(tracks.values(), default=-1) + 1
        for x, to_x, end in hops:
            turn = y + 3 + tracks.get(end, 0)
            _line(lines, (x, y + 2), (x, turn))
            _line(lines, (x, turn), (to_x, turn))
            _line(lines, (to_x, turn), (to_x, y + 3 + gap))
            if (x, y + 2) in letters:
                letters[x, y + 2] = "┬"
        y += 3 + (gap if index + 1 < len(layout.rows) else 0)
    cells = {place: _LINES[bits] for place, bits in lines.items()} | letters
    left, right = min(x for x, _ in cells), max(x for x, _ in cells)
    drawn = ("".join(cells.get((x, line), " ") for x in range(left, right + 1)) for line in range(y))
    return "\n".join(line.rstrip() for line in drawn)


def _line(lines: dict[tuple[int, int], int], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Add a straight line to the cells it passes; cells hold the directions that meet there."""
    (x, y), (to_x, to_y) = start, end
    while (x, y) != (to_x, to_y):
        step_x, step_y = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
        out, back = {(0, 1): (4, 1), (0, -1): (1, 4), (1, 0): (2, 8), (-1, 0): (8, 2)}[step_x, step_y]
        lines[x, y] = lines.get((x, y), 0) | out
        x, y = x + step_x, y + step_y
        lines[x, y] = lines.get((x, y), 0) | back


def _columns(start: str, end: str, across: Mapping[str, int], wide: Mapping[str, int]) -> tuple[int, int]:
    """Return where an arrow leaves one name and reaches the next: straight down where one box stands over the other."""
    sides = []
    for name in (start, end):
        half = wide[name] // 2 - 2 if name in wide else 0
        sides.append((across[name] - half, across[name] + max(half - 1, 0)))
    low, high = max(left for left, _ in sides), min(right for _, right in sides)
    if low > high:
        return across[start], across[end]
    straight = min(max((across[start] + across[end]) // 2, low), high)
    return straight, straight


def _tracks(hops: Sequence[tuple[int, int, str]]) -> dict[str, int]:
    """Return the line on which the arrows to each name run sideways, so that those to different names stay apart."""
    spans: dict[str, tuple[int, int]] = {}
    for x, to_x, end in hops:
        if x != to_x:
            low, high = spans.get(end, (to_x, to_x))
            spans[end] = min(low, x), max(high, x)
    found: dict[str, int] = {}
    for end, (low, high) in sorted(spans.items(), key=lambda item: item[1]):
        taken = {found[other] for other in found if spans[other][0] <= high and low <= spans[other][1]}
        found[end] = next(track for track in range(len(spans)) if track not in taken)
    return found


def _laid_out(system: System) -> _Layout:
    edges = system.edges()
    depth: dict[str, int] = {}
    for name in system.parts:  # in order of dependence
        depth[name] = max((depth[start] + 1 for start, end in edges if end == name), default=0)
    for name in reversed(system.parts):  # close to the first part that uses it
        if not any(end == name for _, end in edges):
            depth[name] = max(depth[name], min((depth[end] - 1 for start, end in edges if start == name), default=0))
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in system.parts:
        rows[depth[name]].append(name)
    routes, bends = [], []
    for start, end in edges:
        between = [f"{start} → {end} {level}" for level in range(depth[start] + 1, depth[end])]
        for level, bend in enumerate(between, depth[start] + 1):
            rows[level].append(bend)
        bends += between
        routes.append([start, *between, end])
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for route in routes:
        for start, end in pairwise(route):
            below.setdefault(start, []).append(end)
            above.setdefault(end, []).append(start)
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            place = {name: index / max(len(each) - 1, 1) for each in rows for index, name in enumerate(each)}
            row.sort(key=lambda name: _mean([place[other] for other in near.get(name, ())], place[name]))
    return _Layout(rows, routes, frozenset(bends))


def _placed(layout: _Layout, widths: Sequence[float], *, gap: float = GAP_X) -> dict[str, float]:
    """Return the middle of each name across the page: near those it is joined to, and none over another."""
    names = [name for row in layout.rows for name in row]
    width = dict(zip(names, widths, strict=True))
    near: dict[str, list[str]] = {name: [] for name in names}
    for route in layout.routes:
        for start, end in pairwise(route):
            near[start].append(end)
            near[end].append(start)
    x: dict[str, float] = {}
    for row in layout.rows:
        at = -(sum(width[name] for name in row) + gap * (len(row) - 1)) / 2
        for name in row:
            x[name], at = at + width[name] / 2, at + width[name] + gap
    for _ in range(SWEEPS):
        for row in layout.rows:
            wished = [_mean([x[other] for other in near[name]], x[name]) for name in row]
            at, found = float("-inf"), []
            for name, wish in zip(row, wished, strict=True):
                middle = max(wish, at + width[name] / 2)
                found.append(middle)
                at = middle + width[name] / 2 + gap
            # Those that were pushed to the right drag the row back, so that it stays centred on its wishes.
            shift = _mean([wish - middle for wish, middle in zip(wished, found, strict=True)], 0.0)
            x.update({name: middle + shift for name, middle in zip(row, found, strict=True)})
    left = min((x[name] - width[name] / 2 for name in names), default=0.0)
    return {name: middle - left + (MARGIN if gap == GAP_X else 0) for name, middle in x.items()}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _short(line: str, length: int) -> str:
    return line if len(line) <= length else line[: length - 1] + "…"
