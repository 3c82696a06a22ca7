"""Tables on terminals that are wide enough, and on those that are not."""

from __future__ import annotations

import pytest

from drivetrain.cli.screen import Screen

RUN = "run-1m8n9fpz9h0kx"


@pytest.mark.parametrize("width", [120, 40, 20])
def test_no_width_breaks_an_id(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Screen()
    screen.is_terminal = True

    screen.table(["run", "reason", "state"], [[RUN, "because the first of them was smoother", "finished"]])

    told = capsys.readouterr().out
    assert RUN in told
    assert "finished" in told
