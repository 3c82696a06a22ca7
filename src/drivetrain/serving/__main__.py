"""`python -m drivetrain.serving SERVICE HANDLE` is what `drivetrain serve` becomes."""

import sys

from drivetrain.serving.launch import handed_over
from drivetrain.serving.server import run

if __name__ == "__main__":
    run(handed_over(int(sys.argv[2])))
    sys.stdout.write("ended\n")
