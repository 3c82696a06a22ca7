import json

import pytest
from tests.store.codecs.kept import again, kept

from drivetrain.errors import NotFound, Refused, Unkeepable
from drivetrain.store.artifact import Artifact
from drivetrain.store.store import Store

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from tests.store.codecs import nets  # noqa: E402  # needs torch

X = torch.arange(12, dtype=torch.float32).reshape(4, 3)


@pytest.mark.parametrize("tied", [False, True])
def test_a_module_comes_back_and_computes_the_same(store: Store, tied: bool) -> None:
    net = nets.Net(width=5, tied=tied)
    net(X)

    seen = again(store, net, nets.Net, format="torch")

    assert torch.equal(seen(X), net.eval()(X))
    assert not seen.training
    assert (seen.out.weight is seen.again.weight) == tied


def test_the_type_of_the_weights_comes_back(store: Store) -> None:
    assert again(store, nets.Net().bfloat16()).into.weight.dtype == torch.bfloat16


def test_a_config_may_be_a_dataclass_or_absent(store: Store) -> None:
    shaped, plain = nets.Shaped(nets.Shape(width=3, shares=(0.1, 0.9))), nets.Plain()

    assert again(store, shaped).config == shaped.config
    assert torch.equal(again(store, plain).layer.weight, plain.layer.weight)


def test_keeping_a_module_leaves_the_random_numbers_alone(store: Store) -> None:
    net = nets.Net()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)

    kept(store, net)

    assert torch.equal(torch.rand(3), expected)


def test_a_tensor_comes_back(store: Store) -> None:
    tensor = torch.rand(2, 3).half()

    assert torch.equal(again(store, tensor, torch.Tensor), tensor)


def test_a_module_that_does_not_follow_the_convention_is_refused_with_it(store: Store) -> None:
    class Local(torch.nn.Module):  # type: ignore[misc, name-defined]  # its bases may have no types
        pass

    for net, named in [
        (torch.nn.Sequential(torch.nn.Linear(1, 1)), "not one of the project's own"),
        (nets.Forgetful(3), "width"),
        (nets.Untrue(3), "layer.weight would differ"),
        (Local(), "cannot be imported again"),
    ]:
        with pytest.raises(Unkeepable, match=named) as caught:
            store.keep(net, part="part")
        assert "self.config" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["torch.nn:Linear", "os:system", "torch.hub:load", "tests.store.codecs.nets:Shape", "__main__:Net"]
)
def test_a_file_that_names_a_class_outside_the_project_is_refused(store: Store, name: str) -> None:
    data = safetensors.save({}, metadata={"drivetrain": json.dumps({"class": name, "config": {"x": 1}})})

    with pytest.raises(Refused):
        store.value(Artifact(digest=store.artifacts.put(data), format="torch", size_bytes=len(data)))


def test_a_class_whose_file_is_gone_is_named(store: Store) -> None:
    data = safetensors.save({}, metadata={"drivetrain": json.dumps({"class": "gone_project:Net", "config": None})})

    with pytest.raises(NotFound, match="gone_project"):
        store.value(Artifact(digest=store.artifacts.put(data), format="torch", size_bytes=len(data)))


def test_a_config_that_json_cannot_hold_is_refused_by_its_place(store: Store) -> None:
    net = nets.Net()
    net.config["layer"] = torch.nn.ReLU()

    with pytest.raises(Unkeepable, match=r"config\['layer'\] is a torch\.ReLU"):
        store.keep(net, part="part")
