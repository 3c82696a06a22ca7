"""Dagster: the same functions as ops, wired by the names of their parameters, executed in this process."""

import inspect
import logging
import sys

import dagster

import system

logging.disable(logging.INFO)
last = "joined" if sys.argv[1] == "fan" else "a49"
ops = {name: value for name, value in vars(system).items() if isinstance(value, dagster.OpDefinition)}


@dagster.job
def whole() -> None:
    """Call each op with what the ops before it gave; the file has them in order."""
    given = {}
    for name, op in ops.items():
        words = inspect.signature(op.compute_fn.decorated_fn).parameters
        given[name] = op(**{word: given[word] for word in words})


print(whole.execute_in_process().output_for_node(last))
