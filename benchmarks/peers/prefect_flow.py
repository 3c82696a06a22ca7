"""Prefect: the same functions as tasks whose results are kept, called in order in a flow; its home is this folder."""

import inspect
import os
import sys
from pathlib import Path

os.environ |= {
    "PREFECT_HOME": str(Path("home").absolute()),
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

import prefect  # it reads its settings when it is imported

import system

tasks = {name: value for name, value in vars(system).items() if isinstance(value, prefect.Task)}


@prefect.flow
def whole() -> int:
    """Call each task with what the tasks before it gave; those that need nothing of each other at once."""
    given = {}
    for name, task in tasks.items():
        words = inspect.signature(task.fn).parameters
        given[name] = task.submit(**{word: given[word] for word in words})
    return given["joined" if sys.argv[1] == "fan" else "a49"].result()


print(whole())
