"""Images: PNG, JPEG and WebP, held as the bytes that came until someone looks at the pixels."""

from __future__ import annotations

import base64
import binascii
import io
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.data.kinds.fetch import fetched, host_of
from drivetrain.data.schema import Column
from drivetrain.errors import DeclarationError, MissingExtra, UnknownName, UnreadableImage
from drivetrain.system.caller import caller

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

FORMATS = ("png", "jpeg", "webp")
_MAX_URL_BYTES = 16 << 20
# One pixel, for examples.
_EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """What an image may be, in an annotation: `Annotated[dt.Image, dt.Images(max_pixels=4_000_000)]`.

    `hosts` are those that an image may be fetched from where a request gives its address, such as `images.example.com`;
    without any, an address is refused. A host with an address that is not public is refused in any case.

    >>> Images(max_pixels=100).column("photo").form["max_pixels"]
    100
    """

    max_pixels: int = 16_000_000
    formats: tuple[str, ...] = FORMATS
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise UnknownName(kind="format of images", name=str(name), known=FORMATS, place=caller())
        if self.max_pixels < 1:
            raise DeclarationError(
                f"images may have {self.max_pixels} pixels", remedy="write 1 or more", place=caller()
            )

    def column(self, name: str, *, nullable: bool = False) -> Column:
        """Return the column of such images."""
        form = {"max_pixels": self.max_pixels, "formats": list(self.formats), "hosts": list(self.hosts)}
        return Column(name=name, kind="image", dtype="Image", nullable=nullable, form=form)


class Image:
    """An image as it came. Its head has been looked at: the format and size are known, and within what is allowed.

    >>> Image.of(base64.b64decode(_EXAMPLE)).array().shape
    (1, 1, 3)
    """

    KIND_OF_VALUE = Images

    def __init__(self, data: bytes | None, rules: Images, url: str = "") -> None:
        self._data, self._rules, self.url = data, rules, url

    @classmethod
    def of(cls, data: bytes, rules: Images | None = None) -> Image:
        """Return the image in some bytes.

        Raises:
            ValueError: they are no image, or one that is not allowed; the text says what was found.
            MissingExtra: Pillow is not installed.
        """
        made = cls(data, rules or Images())
        made._head  # noqa: B018  # looked at now, so that a request is refused and not a model fails
        return made

    @cached_property
    def data(self) -> bytes:
        """The bytes; those of an address are fetched when they are first asked for."""
        if self._data is None:
            self._data = fetched(self.url, self._rules.hosts, max_bytes=_MAX_URL_BYTES)
        return self._data

    @cached_property
    def _head(self) -> tuple[str, int, int]:
        opened = _opened(self.data, self._rules.formats)
        width, height = opened.size
        if width * height > self._rules.max_pixels:
            raise ValueError(f"an image of {width} × {height} pixels")
        return str(opened.format).lower(), width, height

    @property
    def format(self) -> str:
        """`png`, `jpeg` or `webp`."""
        return self._head[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the file has them."""
        return self._head[1:]

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return f"sha256:{sha256(self.data).hexdigest()}"

    def has(self, digest: str) -> bool:
        """Return whether its bytes are those of a digest; what has not been fetched is not."""
        return "data" in vars(self) and self.digest == digest

    def pillow(self) -> PIL.Image.Image:
        """Return it as an image of Pillow, RGB and upright; of a moving one, the first picture.

        Raises:
            UnreadableImage: its pixels cannot be read.
            RequestError: 422, its address cannot be fetched.
        """
        from PIL import ImageOps

        try:
            self._head  # noqa: B018  # of what was fetched, nothing is known before
            return ImageOps.exif_transpose(_opened(self.data, self._rules.formats)).convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise UnreadableImage(reason=str(error), digest=self.digest) from error

    def array(self) -> NDArray[np.uint8]:
        """Return its pixels, (height, width, 3)."""
        import numpy as np

        return np.asarray(self.pillow())


class ImageKind:
    """Reads images from base64, which may begin as a data: address does, or from an address where hosts are allowed."""

    def type_of(self, column: Column) -> Any:
        return str

    def read(self, value: Any, column: Column) -> Image:
        rules = msgspec.convert(column.form, Images)
        if isinstance(value, Image):
            return value
        if isinstance(value, str):
            if value[:8].lower().startswith(("http://", "https://")):
                if host_of(value) not in rules.hosts:
                    raise ValueError("an address, and images are not fetched from there")
                return Image(None, rules, value)
            if value[:5] == "data:":
                value = value[:100].partition(",")[2] + value[100:]
            try:
                value = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("a text that is no base64") from None
        return Image.of(value, rules)

    def words(self, column: Column) -> str:
        formats = ", ".join(column.form["formats"])
        more = f", or an address at {', '.join(column.form['hosts'])}" if column.form["hosts"] else ""
        return f"an image ({formats}) of at most {column.form['max_pixels']:,} pixels, in base64{more}"

    def schema(self, column: Column) -> dict[str, Any]:
        return {"type": "string", "contentEncoding": "base64", "description": self.words(column)}

    def told(self, value: Any, column: Column) -> Any:
        if hasattr(value, "save"):  # an image of Pillow
            buffer = io.BytesIO()
            value.save(buffer, "PNG")
            return base64.b64encode(buffer.getvalue()).decode()
        data = value.data if isinstance(value, Image) else value
        if not isinstance(data, bytes):
            raise ValueError(f"{column.name} is {type(value).__name__}, and no image")
        return base64.b64encode(data).decode()

    def logged(self, value: Any, column: Column) -> Any:
        if isinstance(value, str):  # an answer, told already
            return {"digest": f"sha256:{sha256(base64.b64decode(value)).hexdigest()}"}
        if value.url:
            return {"url": value.url}
        width, height = value.size
        size = len(value.data)
        return {"digest": value.digest, "format": value.format, "width": width, "height": height, "size_bytes": size}

    def example(self, column: Column) -> Any:
        return _EXAMPLE


def _opened(data: bytes, formats: tuple[str, ...]) -> PIL.Image.Image:
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingExtra(library="Pillow", extra="images", purpose="reading images") from error
    try:
        return PIL.Image.open(io.BytesIO(data), formats=[name.upper() for name in formats])
    except PIL.Image.DecompressionBombError:
        raise ValueError("an image of far too many pixels") from None
    except (OSError, SyntaxError, ValueError, TypeError):
        raise ValueError(f"{len(data):,} bytes that are no {' or '.join(formats)}") from None


KIND = ImageKind()
