"""Where in the user's code something was declared."""

from __future__ import annotations

import sys
from pathlib import Path

from drivetrain.errors import Place

_OURS = str(Path(__file__).parent.parent)


def caller() -> Place:
    """Return the nearest line on the stack that is not Drivetrain's own.

    >>> caller().line > 0
    True
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)
