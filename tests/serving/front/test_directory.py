"""Which service a name means, and which names a server of several cannot have."""

from __future__ import annotations

import pytest

from drivetrain.errors import RequestError, UsageError
from drivetrain.serving.front.directory import RESERVED, Directory, check_names
from drivetrain.serving.front.whole import Whole
from drivetrain.serving.service import Terms


def terms(*names: str) -> list[Terms]:
    return [Terms(name=name, model=f"model_of_{name}") for name in names]


def test_a_model_goes_by_its_name_or_its_service_and_with_hyphens() -> None:
    directory = Directory([(each, each.name) for each in terms("arrivals", "prices")])

    assert [directory.find(name) for name in ("prices", "model_of_prices", "model-of-prices")] == ["prices"] * 3
    with pytest.raises(RequestError, match="model_of_arrivals of arrivals, model_of_prices of prices") as error:
        directory.find("price")
    assert error.value.status == 404


def test_the_model_of_several_is_none_of_them() -> None:
    directory = Directory([(Terms(name=name, model="late"), name) for name in ("fast", "bulk", "other")])

    with pytest.raises(RequestError, match="say fast or bulk or other instead") as error:
        directory.find("late")
    assert error.value.status == 409
    assert directory.find("bulk") == "bulk"


@pytest.mark.parametrize("name", ["v1", "docs", "metrics", "a/b", "a b", "größe", ".", "..", "-x", "a%2Fb"])
def test_a_name_that_cannot_stand_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be asked at"):
        check_names(terms("arrivals", name))


def test_names_that_grpc_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(UsageError, match="'a-b' and 'a_b' cannot be told apart"):
        check_names(terms("a-b", "a_b"))
    check_names(terms("a-b", "a_c", "late", "_x9"))


def test_every_path_of_the_server_itself_is_reserved() -> None:
    routes = Whole([]).routes()

    assert {route.path.split("/")[1] for route in routes} == RESERVED
