"""A path of the user's own, whose answers are the prediction alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.serving.project import Address, Project

from drivetrain.errors import BadSetting
from drivetrain.serving.log import find_prediction
from drivetrain.serving.service import TAKEN, Service
from drivetrain.store.store import Store
from drivetrain.training.custom import predictor

SYSTEM = """
from typing import Literal, TypedDict

import drivetrain as dt


class Answer(TypedDict):
    churn_probability: float
    segment: str


@dt.predictor
class Churn:
    def predict(self, age: int, country: Literal["DE", "FR"] = "DE") -> Answer:
        return {"churn_probability": age / 100, "segment": country}


@dt.predictor
class Bright:
    def predict(self, image: dt.Image) -> float:
        return float(image.data[0])


gates = [dt.Gate(Churn, name="gate_churn"), dt.Gate(Bright, name="gate_bright")]
scoring = dt.Service(Churn, route="/v1/score", cache=dt.Cache(keep="1m"))
seeing = dt.Service(Bright, route="/classify")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("bare"), SYSTEM)
    made.run()
    return made


@pytest.fixture(scope="module")
def both(project: Project) -> Iterator[Address]:
    with project.served("--all") as address:
        yield address


def test_the_client_of_a_server_by_hand_is_answered_as_it_was(project: Project) -> None:
    with project.served("scoring") as address:
        one = address.client.post("/v1/score", json={"age": 40})
        again = address.client.post("/v1/score", json={"age": 40})
        many = address.client.post("/v1/score", json=[{"age": 40}, {"age": 50, "country": "FR"}])
        wrong = address.client.post("/v1/score", json={"age": "old"})
        native = address.predict({"age": 40})

    assert one.json() == {"churn_probability": 0.4, "segment": "DE"} == native["prediction"]
    assert (one.headers["x-model-version"], again.headers["cache-status"][:15]) == ("churn@1", "drivetrain; hit")
    assert many.json()[1] == {"churn_probability": 0.5, "segment": "FR"}
    assert many.headers["x-model-version"] == "churn@1"
    assert (wrong.status_code, wrong.json()["problems"][0]["field"]) == (422, "age")
    store = Store.open(project.folder / ".drivetrain")
    assert find_prediction(store, one.headers["x-prediction-id"]).version == "churn@1"
    store.close()


def test_several_services_have_their_routes_below_their_names(both: Address) -> None:
    assert both.client.post("/scoring/v1/score", json={"age": 40}).json()["churn_probability"] == 0.4
    assert both.client.post("/v1/score", json={"age": 40}).status_code == 404


def test_an_image_comes_as_it_is(both: Address) -> None:
    from io import BytesIO

    from PIL import Image

    picture = BytesIO()
    Image.new("RGB", (4, 4), "red").save(picture, "PNG")
    data = picture.getvalue()

    sent = both.client.post("/seeing/classify", content=data, headers={"content-type": "image/png"})
    form = both.client.post("/seeing/classify", files={"image": ("a.png", data, "image/png")})

    assert sent.json() == form.json() == float(data[0])


def test_the_route_is_described_with_a_request_that_works(both: Address) -> None:
    asked = both.client.get("/scoring/openapi.json").json()["paths"]["/v1/score"]["post"]
    examples = asked["requestBody"]["content"]["application/json"]["examples"]
    told = both.client.post("/scoring/v1/score", json=examples["one row"]["value"])

    assert set(told.json()) == {"churn_probability", "segment"}
    assert len(both.client.post("/scoring/v1/score", json=examples["two rows"]["value"]).json()) == 2


def test_every_path_of_a_service_is_known_to_be_taken(both: Address) -> None:
    description = both.client.get("/scoring/openapi.json").json()["paths"]
    paths = {path for path in description if path not in ("/", "/v1/score")}

    assert {"/predict", "/v2/models/{model}/infer", "/jobs/{job}", "/v1/models/{model}:predict"} <= paths
    assert [path for path in paths if not TAKEN.fullmatch(path.replace("{model}:", "{model}/"))] == []


@predictor
class Pieces:
    def predict(self, text: str) -> Iterator[str]:
        yield text


@predictor
class Whole:
    def predict(self, text: str) -> str:
        return text


@pytest.mark.parametrize("route", ["score", "/", "/predict", "/v2/mine", "/a b", "/x?y=1", "/v1/models", "/{x}", "/x/"])
def test_a_route_that_cannot_be_is_refused(route: str) -> None:
    with pytest.raises(BadSetting, match=r"answers\.route"):
        Service(Whole, route=route, name="answers").check({})


def test_a_model_that_streams_has_no_route() -> None:
    with pytest.raises(BadSetting, match="answers in pieces"):
        Service(Pieces, route="/score", name="answers").check({})
    Service(Whole, route="/predictions/v1", name="answers").check({})
