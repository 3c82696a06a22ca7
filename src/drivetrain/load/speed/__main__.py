"""`python -m drivetrain.load.speed SERVICE HANDLE FOLDER` is a server that notes in a folder how its time is spent."""

import sys
from functools import partial
from pathlib import Path

from drivetrain.load.speed.traced import TracedApp
from drivetrain.serving.launch import handed_over
from drivetrain.serving.server import run

if __name__ == "__main__":
    run(handed_over(int(sys.argv[2])), partial(TracedApp, folder=Path(sys.argv[3])))
