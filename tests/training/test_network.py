"""Networks of torch from elsewhere: what they take and give, and what is never read."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from drivetrain.data.kinds.tensor import Tensor
from drivetrain.errors import DeclarationError, Refused

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from tests.serving.project import Project  # noqa: E402

from drivetrain.training.network import torch as declared  # noqa: E402
from drivetrain.training.torch import Network, onnx_build  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, width)
        self.second = torch.nn.Linear(width, 2)

    def forward(self, x: torch.Tensor):
        hidden = torch.relu(self.first(x))
        return self.second(hidden), hidden.sum(1)


class Bessel(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return torch.special.i0e(x)  # which ONNX has no operation for
"""
# From 2.15 on torch says of TorchScript, which users still have files of, that it will go.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
INPUTS = {"x": Tensor("float32", (3,))}
ROWS = [(np.array([1, 2, 3], "float32"),), (np.array([0, 1, 0], "float32"),), (np.array([9, 9, 9], "float32"),)]


MADE: dict[str, Any] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one network in each form."""
    made = tmp_path_factory.mktemp("nets")
    (made / "net_in_a_file.py").write_text(NET)
    sys.path.insert(0, str(made))
    try:
        from net_in_a_file import Bessel, Net  # type: ignore[import-not-found]  # just written
    finally:
        sys.path.remove(str(made))
    MADE["Net"] = Net
    torch.manual_seed(0)
    net = Net().eval()
    safetensors.save_file(net.state_dict(), made / "net.safetensors")
    examples = torch.export.Dim("examples", min=1, max=4096)
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3),), dynamic_shapes=({0: examples},)), made / "net.pt2")
    bessel = torch.export.export(Bessel(), (torch.zeros(2, 3),), dynamic_shapes=({0: examples},))
    torch.export.save(bessel, made / "bessel.pt2")
    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit"):  # the one or the other, by its version
        torch.jit.trace(net, torch.zeros(2, 3)).save(made / "net.pt")
    (made / "expected.json").write_text(
        json.dumps([part.tolist() for part in net(torch.tensor([row[0].tolist() for row in ROWS]))])
    )
    return made


def loaded(folder: Path, form: str) -> Network:
    if form == "class":
        made = MADE["Net"]
        return Network.load(folder / "net.safetensors", made=made, inputs=INPUTS, config={"width": 4})
    return Network.load(folder / form, inputs={} if form == "net.pt2" else INPUTS, config={})


@pytest.mark.parametrize("form", ["class", "net.pt2", "net.pt"])
def test_each_form_answers_rows_as_the_network_did(folder: Path, form: str) -> None:
    network = loaded(folder, form)

    found = network.answer(ROWS)

    logits, sums = json.loads((folder / "expected.json").read_text())
    assert [(column.name, column.kind, column.form) for column in network.outputs] == [
        ("output_0", "tensor", {"shape": [2]}),
        ("output_1", "float", {}),
    ]
    assert [(column.name, column.form["shape"]) for column in network.inputs] == [("x", [3])]
    np.testing.assert_allclose([row["output_0"] for row in found], logits, atol=1e-6)
    np.testing.assert_allclose([row["output_1"] for row in found], sums, atol=1e-6)
    np.testing.assert_allclose(network.predict(x=np.array([row[0] for row in ROWS]))["output_1"], sums, atol=1e-6)


def test_weights_that_do_not_fit_say_so(folder: Path) -> None:
    with pytest.raises(Refused, match="do not fit Net"):
        Network.load(folder / "net.safetensors", made=MADE["Net"], inputs=INPUTS, config={"width": 8})


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL"],)


def test_a_pickle_is_never_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    for name in ("net.pt2", "net.pt"):
        changed = tmp_path / name
        with zipfile.ZipFile(folder / name) as source, zipfile.ZipFile(changed, "w") as target:
            for info in source.infolist():
                data = source.read(info)
                if info.filename.endswith(("sample_inputs/model.pt", "data.pkl")):
                    data = _checkpoint(tmp_path) if name == "net.pt2" else pickle.dumps(Evil())
                target.writestr(info, data)

        with pytest.raises(Refused):
            loaded(tmp_path, name)
    torch.save({"weights": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(Refused, match="no program of TorchScript"):
        Network.load(tmp_path / "checkpoint.pt", inputs=INPUTS, config={})

    assert not (tmp_path / "evil").exists()


def _checkpoint(folder: Path) -> bytes:
    torch.save(Evil(), folder / "evil.pt")
    return (folder / "evil.pt").read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("torch.ops.aten.relu.default", "torch.os.system"),
        ("torch.ops.aten.relu.default", "torch.ops.load_library"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.relu.default.__class__"),
        ("Symbol('s17', positive=True, integer=True)", "__import__('os').mkdir('evil')"),
        ("Symbol('s17', positive=True, integer=True)", "exec(open('x'))"),
        ("Symbol('s17', positive=True, integer=True)", "[].append(1)"),
    ],
)
def test_a_program_that_names_other_code_is_refused(folder: Path, tmp_path: Path, before: str, after: str) -> None:
    with zipfile.ZipFile(folder / "net.pt2") as source, zipfile.ZipFile(tmp_path / "net.pt2", "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith("model.json"):
                text = data.decode()
                if before.startswith("Symbol"):
                    before = next(part for part in text.split('"') if part.startswith("Symbol("))
                assert before in text
                data = text.replace(before, after).encode()
            target.writestr(info, data)

    with pytest.raises(Refused, match="would run other code"):
        loaded(tmp_path, "net.pt2")


def test_what_is_missing_is_said_where_it_is_declared() -> None:
    with pytest.raises(DeclarationError, match="can run any code"):
        declared("net.pth")
    with pytest.raises(DeclarationError, match="no safetensors"):
        declared(object, weights="net.bin", inputs=INPUTS)
    with pytest.raises(DeclarationError, match="its weights"):
        declared(object)


@pytest.mark.slow
def test_a_network_is_served(folder: Path, tmp_path: Path) -> None:
    source = """
import drivetrain as dt
from net import Net

network = dt.torch(Net, weights="net.safetensors", inputs={"x": dt.Tensor("float32", (3,))}, outputs=["logits", "sum"])
gate = dt.Gate(network)
service = dt.Service(network)
"""
    project = Project(tmp_path, source, net__py=NET, net__safetensors=(folder / "net.safetensors").read_bytes())
    project.run()

    with project.served() as address:
        told = address.predict([{"x": row[0].tolist()} for row in ROWS])["predictions"]

    logits, sums = json.loads((folder / "expected.json").read_text())
    np.testing.assert_allclose([each["prediction"]["logits"] for each in told], logits, atol=1e-6)
    np.testing.assert_allclose([each["prediction"]["sum"] for each in told], sums, atol=1e-6)


@pytest.mark.slow
def test_an_onnx_build_answers_where_it_agrees(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch makes ONNX with it")
    pytest.importorskip("onnxruntime")
    source = """
import drivetrain as dt
from net import Net

network = dt.torch(Net, weights="net.safetensors", inputs={"x": dt.Tensor("float32", (3,))}, onnx=True)
gate = dt.Gate(network)
service = dt.Service(network)
"""
    project = Project(tmp_path, source, net__py=NET, net__safetensors=(folder / "net.safetensors").read_bytes())
    project.run()

    with project.served() as address:
        told = address.predict([{"x": row[0].tolist()} for row in ROWS])["predictions"]
        version = address.client.get("/version").json()["champion"]

    logits, _ = json.loads((folder / "expected.json").read_text())
    assert version["build"] == "onnx"
    assert version["build_reason"] == "0 of 64 made-up examples differ"
    np.testing.assert_allclose([each["prediction"]["output_0"] for each in told], logits, atol=1e-5)
    network = loaded(folder, "class")
    assert onnx_build(network, tmp_path / "one.onnx")["differing_rows"] == 0
    found = onnx_build(loaded(folder, "net.pt"), tmp_path / "two.onnx")
    assert found["reason"].startswith("there is no ONNX build") or found["differing_rows"] == 0


@pytest.mark.slow
def test_a_network_that_has_no_onnx_build_says_so_and_tells_no_agreement(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch makes ONNX with it")
    pytest.importorskip("onnxruntime")
    source = """
import drivetrain as dt

network = dt.torch("net.pt2", onnx=True)
gate = dt.Gate(network)
service = dt.Service(network)
"""

    project = Project(tmp_path, source, net__pt2=(folder / "bessel.pt2").read_bytes())
    project.run()
    curves = project.command("show", "--json").stdout

    with project.served() as address:
        version = address.client.get("/version").json()["champion"]

    assert version["build"] == "torch"
    assert version["build_reason"].startswith("there is no ONNX build: ")
    assert "onnx_differing_rows" not in curves
