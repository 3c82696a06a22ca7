"""Answers jobs for the tests: STORE; the environment may set CALLBACK_HOSTS."""

from __future__ import annotations

import os
import sys

from drivetrain.serving.config import Config
from drivetrain.serving.jobs.terms import callbacks_of
from drivetrain.serving.jobs.worker import work
from drivetrain.serving.service import Terms

if __name__ == "__main__":
    callbacks = callbacks_of(os.environ.get("CALLBACK_HOSTS", ""), "secret")
    work(Terms(name="answers", model="late"), Config(store=sys.argv[1], callbacks=callbacks))
