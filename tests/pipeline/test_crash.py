"""kill -9 at any moment: nothing committed is lost, nothing half-done is seen, no finished step runs again."""

from __future__ import annotations

import random
import signal
import time

import pytest
from tests.project import Project

from drivetrain.pipeline.run import Run, StepRun

STEPS = 5
SYSTEM = (
    "import os\nimport time\n\nimport drivetrain as dt\n\n\ndef note(name):\n"
    "    with open('calls.txt', 'a') as file:\n        file.write(name + '\\n')\n\n\n"
    "@dt.step\ndef s0() -> list:\n    note('s0')\n    time.sleep(0.02)\n    return list(range(5000))\n\n\n"
) + "".join(
    f"@dt.step\ndef s{i}(s{i - 1}: list) -> list:\n    note('s{i}')\n    time.sleep(0.02)\n"
    f"    return [x + 1 for x in s{i - 1}]\n\n\n"
    for i in range(1, STEPS)
)


@pytest.mark.parametrize("kills", [50])
def test_a_run_killed_at_any_moment_goes_on_from_the_last_committed_step(project: Project, kills: int) -> None:
    project.write(SYSTEM)
    moments = random.Random(7)
    repeated = 0
    for attempt in range(kills):
        # Another setting of the source gives a fresh chain of keys, so that each kill meets unfinished work.
        project.write(SYSTEM.replace("range(5000)", f"range({5000 + attempt})"))
        process = project.start("run")
        time.sleep(moments.uniform(0.02, 0.40))
        process.send_signal(signal.SIGKILL)
        process.wait()
        (project.root / "calls.txt").unlink(missing_ok=True)
        store = project.store()
        committed = {step.step: step for step in store.ledger.find(StepRun, {"state": "finished"})}
        for step in committed.values():
            for artifact in step.outputs.values():
                store.artifacts.get(artifact.digest)  # whole and true to its digest, or this raises
        killed = store.ledger.find(Run, order="-started_at", limit=1)
        finished_before = (
            {step.step for step in store.ledger.find(StepRun, {"run": killed[0].id}) if step.state == "finished"}
            if killed and killed[0].state == "running"
            else set()
        )
        store.close()
        result = project.json("run")
        states = {step["step"]: step["state"] for step in result["steps"]}
        repeated += sum(states[name] != "cached" for name in finished_before)
        store = project.store()
        last = store.ledger.get(StepRun, result["run"]["id"], f"s{STEPS - 1}")
        assert last is not None
        assert store.value(last.outputs[f"s{STEPS - 1}"])[:2] == [STEPS - 1, STEPS]
        assert not store.ledger.find(Run, {"state": "running"}), "an ended run is not called running"
        store.close()
    assert repeated == 0
