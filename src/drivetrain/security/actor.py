"""Who does something by hand: the name that is recorded with it."""

from __future__ import annotations

import getpass
import os


def actor() -> str:
    """Return the user's name, or the number where the machine has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
