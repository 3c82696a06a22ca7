"""What the page on moving a server over tells its readers to send, sent to the server that it has them start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.serving.project import Project
from tests.serving.world import ROOT
from tests.test_docs import blocks

if TYPE_CHECKING:
    from pathlib import Path

for library in ("lightgbm", "skl2onnx"):
    pytest.importorskip(library)

PAGE = ROOT / "docs" / "moving-a-server.md"


def told(answer: dict[str, Any]) -> Any:
    """Return the first prediction of an answer in any of the forms."""
    if "outputs" in answer:
        return answer["outputs"][0]["data"][0]
    return answer["predictions"][0] if "predictions" in answer else answer["prediction"]


def test_each_client_of_the_page_is_answered(tmp_path: Path) -> None:
    page = list(blocks(PAGE))
    files = {block.title: block.text for block in page if block.title}
    project = Project(tmp_path, files["system.py"])
    project.write("old.py", files["old.py"])
    subprocess.run([sys.executable, "old.py"], cwd=tmp_path, check=True, timeout=120)
    project.run()
    commands = [
        shlex.split(line.removeprefix("$ "))
        for block in page
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("$ curl")
    ]

    assert len(commands) == 4
    with project.served() as address:
        for words in commands:
            path = re.sub(r"^localhost:\d+", address.url, words[2])
            # What curl itself writes where it is told nothing.
            kind = {"content-type": "application/x-www-form-urlencoded"}
            if "-H" in words:
                kind = dict([words[words.index("-H") + 1].split(": ")])
            seen = httpx.post(path, content=words[words.index("-d") + 1], headers=kind)
            assert seen.status_code == 200, f"{path}: {seen.text}"
            assert told(seen.json()) == 1
        named = {"instances": [[6.8, 2.8, 4.8, 1.4]]}
        assert address.client.post("/v1/models/sklearn.iris:predict", json=named).status_code == 404
