from drivetrain.system.drawing import Mark, _laid_out, html, svg, text
from drivetrain.system.function import step
from drivetrain.system.system import System


@step
def rows() -> int:
    return 1


@step
def other() -> int:
    return 1


@step
def joined(rows: int, other: int) -> int:
    return rows + other


@step
def judged(joined: int, rows: int) -> int:
    return joined - rows


SYSTEM = System("numbers <&>", rows, other, joined, judged)


def layers(system: System) -> list[list[str]]:
    """The names of the parts in the rows of the drawing, without the bends of long arrows."""
    layout = _laid_out(system)
    return [[name for name in row if name not in layout.bends] for row in layout.rows]


def test_every_arrow_leads_to_a_later_layer() -> None:
    depth = {name: level for level, names in enumerate(layers(SYSTEM)) for name in names}

    assert set(depth) == set(SYSTEM.parts)
    assert all(depth[start] < depth[end] for start, end in SYSTEM.edges())


def test_a_part_without_inputs_stands_close_to_what_uses_it() -> None:
    @step
    def late(judged: int, extra: int) -> int:
        return judged + extra

    @step
    def extra() -> int:
        return 1

    found = layers(System("numbers", rows, other, joined, judged, extra, late))

    assert found[-2:] == [["judged", "extra"], ["late"]] or found[-2:] == [["extra", "judged"], ["late"]]


def test_the_text_has_each_part_once_and_no_line_through_a_box() -> None:
    drawn = text(SYSTEM)

    for name in SYSTEM.parts:
        assert sum(f"│ {name} " in line for line in drawn.splitlines()) == 1
    assert drawn == "\n".join(line.rstrip() for line in drawn.splitlines())


def test_the_picture_links_and_marks_each_part_and_escapes_names() -> None:
    drawn = svg(SYSTEM, {"rows": Mark(state="failed", caption="<b>", link="/parts/rows")})

    assert drawn.count('class="node ') == len(SYSTEM.parts)
    assert 'href="/parts/rows" class="node is-failed"' in drawn
    assert drawn.count('class="edge"') == len(SYSTEM.edges())
    assert "<b>" not in drawn
    assert "numbers &lt;&amp;&gt;" in drawn
    assert "<style>" not in drawn


def test_a_picture_that_stands_alone_brings_its_colours() -> None:
    assert "<style>" in svg(SYSTEM)
    assert html(SYSTEM).startswith("<!doctype html>")


def test_a_system_without_parts_is_drawn_as_nothing() -> None:
    assert text(System("bare")) == ""
    assert "<svg" in svg(System("bare"))
