"""Who is at work: the name that is recorded with what a person does."""

from __future__ import annotations

import os
import pwd


def actor() -> str:
    """Return the user's name, from the environment or the machine's accounts; `uid N` where neither knows one."""
    named = os.environ.get("USER") or os.environ.get("LOGNAME")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that is run under any number
        return f"uid {os.getuid()}"
