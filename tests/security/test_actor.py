import os
import pwd

import pytest

from drivetrain.security.actor import actor


def test_who_is_at_work_has_a_name_also_where_no_account_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "grace")
    assert actor() == "grace"

    monkeypatch.delenv("USER")
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert actor() == "uid 4000000"
    monkeypatch.undo()
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.delenv("LOGNAME", raising=False)
    assert actor() == pwd.getpwuid(os.getuid()).pw_name
