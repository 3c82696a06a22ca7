from __future__ import annotations

import getpass
import os

import pytest

from drivetrain.security.actor import actor


def test_the_user_has_a_name_or_else_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert actor() == getpass.getuser()

    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # a container's user that no file of the machine names
    assert actor() == "uid 54321"
