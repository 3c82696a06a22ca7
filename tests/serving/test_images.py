"""Images in requests: as base64, as a body and in a form; and those that mean ill."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.serving.answering import Handler, answering
from tests.serving.project import Address, Project
from tests.serving.world import wait_until

from drivetrain.data.kinds.fetch import fetched, got
from drivetrain.data.kinds.image import Image, Images
from drivetrain.errors import RequestError
from drivetrain.serving.sealing import seal
from drivetrain.store.garbage import needed_digests
from drivetrain.store.store import Store

pillow = pytest.importorskip("PIL.Image", reason="needs Pillow")

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = """
from typing import Annotated, TypedDict

import drivetrain as dt


class Seen(TypedDict):
    colour: list[int]
    size: list[int]
    words: str


@dt.predictor
class Colours:
    def predict(
        self, photo: list[Annotated[dt.Image, dt.Images(max_pixels=40_000)]], words: list[str | None]
    ) -> list[Seen]:
        return [
            {
                "colour": [int(each) for each in image.array().mean(axis=(0, 1))],
                "size": list(image.size),
                "words": text or "",
            }
            for image, text in zip(photo, words, strict=True)
        ]


@dt.predictor
class Grey:
    def predict(self, photo: dt.Image, top: int = 0) -> dt.Image:
        return photo.pillow().convert("L")


gates = [dt.Gate(Colours, name="g1"), dt.Gate(Grey, name="g2")]
colouring = dt.Service(Colours, max_body_bytes=400_000)
greying = dt.Service(Grey)
keeping = dt.Service(Colours, keep_images=True)
"""


def picture(form: str = "PNG", size: tuple[int, int] = (20, 10), **options: Any) -> bytes:
    """Return a red picture."""
    buffer = io.BytesIO()
    pillow.new("RGB", size, (200, 40, 20)).save(buffer, form, **options)
    return buffer.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is huge."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("images"), SYSTEM)
    made.run()
    return made


@pytest.fixture(scope="module")
def colours(project: Project) -> Iterator[Address]:
    with project.served("colouring") as address:
        yield address


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_comes_in_base64_as_the_body_or_in_a_form(colours: Address, form: str) -> None:
    data, kind = picture(form), f"image/{form.lower()}"

    told = [
        colours.predict({"photo": base64_of(data)}),
        colours.predict({"photo": f"data:{kind};base64,{base64_of(data)}"}),
        colours.client.post("/predict", content=data, headers={"content-type": kind}).json(),
        colours.client.post("/predict", files={"photo": ("a", data, kind)}).json(),
    ]

    for each in told:
        assert each["prediction"]["size"] == [20, 10]
        assert np.allclose(each["prediction"]["colour"], [200, 40, 20], atol=4)


def test_a_form_and_a_query_have_the_other_fields(colours: Address) -> None:
    data = picture()

    form = colours.client.post("/predict", files={"photo": ("a.png", data, "image/png")}, data={"words": 'a "b"\r\nc'})
    query = colours.client.post("/predict", params={"words": "é"}, content=data, headers={"content-type": "image/png"})

    assert form.json()["prediction"]["words"] == 'a "b"\r\nc'
    assert query.json()["prediction"]["words"] == "é"


def test_bytes_of_every_value_survive_a_form(project: Project) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    pillow.fromarray(noise).save(buffer, "PNG")
    with project.served("greying") as address:
        told = address.client.post("/predict", files={"photo": ("a.png", buffer.getvalue(), "image/png")}).json()
        with_top = address.client.post("/predict", data={"top": "3"}, files={"photo": ("a", picture())})
        wrong = [
            address.client.post("/predict", data={"top": "abc"}, files={"photo": ("a", picture())}),
            address.client.post("/predict?top=abc", content=picture(), headers={"content-type": "image/png"}),
        ]
        unknown = address.client.post("/predict", data={"tpo": "abc"}, files={"photo": ("a", picture())})

    seen = pillow.open(io.BytesIO(base64.b64decode(told["prediction"])))
    np.testing.assert_array_equal(np.asarray(seen), np.asarray(pillow.fromarray(noise).convert("L")))
    assert with_top.status_code == 200
    assert [each.status_code for each in wrong] == [422, 422]
    expected = {"row": 0, "field": "top", "found": '"abc"', "wanted": "a whole number, or null"}
    assert [each.json()["problems"] for each in wrong] == [[expected]] * 2
    assert unknown.json()["problems"][0]["wanted"] == "did you mean top?"


def test_the_log_has_a_digest_in_place_of_the_image(project: Project, colours: Address) -> None:
    data = picture(size=(150, 150))
    told = colours.predict([{"photo": base64_of(data), "words": "x"}] * 2)["predictions"][0]

    request = project.logged("colouring").filter(id=told["id"]).row(0, named=True)["request"]

    assert Image.of(data).digest in request["photo"]
    assert '"width":150' in request["photo"]
    assert len(request["photo"]) < 200
    assert request["words"] == "x"


def test_an_image_is_kept_where_the_service_says_so(project: Project, colours: Address) -> None:
    data, other = picture(size=(33, 44)), picture(size=(44, 33))
    colours.predict({"photo": base64_of(other)})
    with project.served("keeping") as address:
        address.predict({"photo": base64_of(data)})
    store = Store.open(project.folder / ".drivetrain")

    assert seal(store, "keeping") == 1

    kept = Image.of(data).digest
    assert store.artifacts.get(kept) == data
    assert kept in needed_digests(store)
    assert not store.artifacts.has(Image.of(other).digest)
    store.close()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("no base64!", "no base64"),
        (base64_of(b"GIF89a nothing"), "14 bytes that are no png or jpeg or webp"),
        (base64_of(picture("GIF")), "no png or jpeg or webp"),
        (base64_of(picture(size=(300, 300))), "an image of 300 × 300 pixels"),
        (base64_of(bomb(10_000, 8_000)), "an image of 10000 × 8000 pixels"),
        (base64_of(bomb(60_000, 60_000)), "an image of far too many pixels"),
        ("http://169.254.169.254/latest", "images are not fetched from there"),
        ("https://images.example.com/a.png", "images are not fetched from there"),
        ("file:///etc/passwd", "no base64"),
        (7, "Expected `str`"),
    ],
)
def test_what_is_no_image_is_refused(colours: Address, value: Any, found: str) -> None:
    (problem,) = colours.refused({"photo": value}, 422)["problems"]

    assert problem["field"] == "photo"
    assert found in problem["found"]
    assert "at most 40,000 pixels" in problem["wanted"]


def test_an_image_that_breaks_off_fails_alone(colours: Address) -> None:
    whole, broken = base64_of(picture(size=(100, 100))), base64_of(picture("JPEG", size=(150, 150))[:-400])

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(colours.predict, [{"photo": whole}] * 20))
        (problem,) = colours.refused({"photo": broken}, 422)["problems"]

    assert {each["prediction"]["size"][0] for each in told} == {100}
    assert (problem["row"], problem["field"]) == (0, "photo")


@pytest.mark.parametrize(("rows", "broken"), [(2, 1), (300, 290)])
def test_an_image_that_breaks_off_is_told_by_its_row_and_field(colours: Address, rows: int, broken: int) -> None:
    sent = [{"photo": base64_of(picture(size=(9, 9)))} for _ in range(rows)]
    sent[broken] = {"photo": base64_of(picture("JPEG", size=(150, 150))[:-400])}

    told = colours.refused(sent, 422)

    (problem,) = told["problems"]
    assert told["error"] == "1 value does not fit the model's signature"
    assert (problem["row"], problem["field"]) == (broken, "photo")
    assert "an image that cannot be read: image file is truncated" in problem["found"]
    assert "at most 40,000 pixels" in problem["wanted"]
    job = colours.client.post("/jobs", json=sent).json()
    wait_until(lambda: colours.client.get(f"/jobs/{job['id']}").json()["state"] == "failed")
    assert f"photo of row {broken} is an image that cannot" in colours.client.get(f"/jobs/{job['id']}").json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\nvalue\r\n--x--\r\n", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n" * 1000 + b"--x--", "multipart/form-data; boundary=x", 413),
        (
            b'--x\r\ncontent-disposition: form-data; name="photo"\r\n\r\na\r\n' * 2 + b"--x--",
            "multipart/form-data; boundary=x",
            422,
        ),
        (b"x" * 500_000, "image/png", 413),
        (b"x" * 50, "image/png", 422),
        (b"x", "image/gif", 415),
    ],
)
def test_a_body_that_is_no_form_or_image_is_refused(colours: Address, content: bytes, kind: str, status: int) -> None:
    told = colours.client.post("/predict", content=content, headers={"content-type": kind})

    assert told.status_code == status, told.text


def test_the_description_names_the_bodies(colours: Address) -> None:
    body = colours.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]

    assert set(body) >= {"application/json", "multipart/form-data", "image/*"}
    assert colours.predict(body["application/json"]["examples"]["one row"]["value"])["prediction"]["size"] == [1, 1]


def test_an_address_is_fetched_only_from_public_hosts_that_are_allowed() -> None:
    seen = []

    class Pictures(Handler):
        def get(self) -> None:
            seen.append((self.path, self.headers["host"]))
            self.send(302 if self.path == "/moved" else 200, picture(), location="http://127.0.0.1/")

    with answering(Pictures) as port:
        for url in (f"http://127.0.0.1:{port}/a", f"http://localhost:{port}/a"):
            with pytest.raises(RequestError, match="not public"):
                fetched(url, [url.split("/")[2]], max_bytes=1000)
        with pytest.raises(RequestError, match="not among those allowed"):
            fetched(f"http://localhost:{port}/a", ["example.com"], max_bytes=1000)
        assert not seen
        # What is fetched once the address has been found to be public.
        data = got("127.0.0.1", port, "images.example.com", "/a?b", secure=False, max_bytes=10_000)
        assert data == picture()
        assert seen == [("/a?b", f"images.example.com:{port}")]
        with pytest.raises(RequestError, match="302"):
            got("127.0.0.1", port, "h", "/moved", secure=False, max_bytes=10_000)
        with pytest.raises(RequestError, match="more than 20 bytes"):
            got("127.0.0.1", port, "h", "/a", secure=False, max_bytes=20)


def test_an_image_is_upright_and_rgb() -> None:
    buffer = io.BytesIO()
    turned = pillow.new("L", (4, 2))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(buffer, "JPEG", exif=exif)

    image = Image.of(buffer.getvalue(), Images(formats=("jpeg",)))

    assert image.size == (4, 2)
    assert image.array().shape == (4, 2, 3)
    assert image.format == "jpeg"
