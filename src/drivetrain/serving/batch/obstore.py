"""Buckets: objects are listed, read and put by obstore, which takes its credentials from the environment."""

from __future__ import annotations

import io
from fnmatch import fnmatchcase
from typing import IO, TYPE_CHECKING, Any

from drivetrain.errors import MissingExtra, StoreUnavailable
from drivetrain.serving.batch.format import TEXT, input_format, unknown_format
from drivetrain.serving.batch.source import File

if TYPE_CHECKING:
    from pathlib import Path


def listed(url: str) -> list[File]:
    """Return the objects that an address stands for: one object, all below a folder, or those of a pattern."""
    import obstore

    bucket, key = _split(url)
    store = _bucket(bucket)
    fixed = key
    if any(sign in key for sign in "*?["):
        fixed = key[: min(key.index(sign) for sign in "*?[" if sign in key)].rpartition("/")[0]
    try:
        metas = [meta for batch in obstore.list(store, prefix=fixed.strip("/") or None) for meta in batch]
        if not metas and fixed == key and key:
            metas = [obstore.head(store, key)]
    except FileNotFoundError:
        return []
    except Exception as error:
        raise unreachable(url, error) from error
    found = []
    for meta in sorted(metas, key=lambda meta: meta["path"]):
        path = meta["path"]
        if fixed != key and not fnmatchcase(path, key):
            continue
        root = f"{fixed.strip('/')}/" if fixed.strip("/") and path != fixed else path.rpartition("/")[0] + "/"
        name = path.removeprefix(root) if root != "/" else path
        form = input_format(path)
        hidden = any(part.startswith((".", "_")) for part in name.split("/"))
        if form is None and path == key:
            raise unknown_format(url)
        if form is None or hidden or not meta["size"]:
            continue
        stamp = f"{meta['size']}-{meta['e_tag'] or meta['last_modified'].isoformat()}"
        found.append(
            File(
                path=f"{bucket}/{path}", name=name, format=form, size_bytes=meta["size"], stamp=stamp,
                is_text=form in TEXT, root=f"{bucket}/{path}".removesuffix(f"/{name}"),
            )
        )  # fmt: skip
    return found


def opened(url: str) -> IO[bytes]:
    """Return an object as a file that is read from the bucket as one goes along."""
    import obstore

    bucket, key = _split(url)
    try:
        return io.BufferedReader(_Object(url, obstore.open_reader(_bucket(bucket), key, buffer_size=8 << 20)))
    except FileNotFoundError as error:
        raise unreachable(url, error) from error


def got(url: str) -> bytes:
    """Return the bytes of an object."""
    import obstore

    bucket, key = _split(url)
    try:
        return bytes(obstore.get(_bucket(bucket), key).bytes())
    except Exception as error:
        raise unreachable(url, error) from error


class _Object(io.RawIOBase):
    """An object as Python's own kind of file."""

    def __init__(self, url: str, reader: Any) -> None:
        self._url, self._reader = url, reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except Exception as error:
            raise unreachable(self._url, error) from error
        buffer[: len(data)] = data
        return len(data)


def put(path: Path, url: str) -> None:
    """Copy a file into a bucket; the object is there whole, or not at all."""
    import obstore

    bucket, key = _split(url)
    try:
        obstore.put(_bucket(bucket), key, path)
    except Exception as error:
        raise unreachable(url, error) from error


def size_of(url: str) -> int | None:
    """Return the bytes of an object, or None where there is none."""
    import obstore

    bucket, key = _split(url)
    try:
        return int(obstore.head(_bucket(bucket), key)["size"])
    except FileNotFoundError:
        return None
    except Exception as error:
        raise unreachable(url, error) from error


def is_there(url: str) -> bool:
    """Return whether there is an object of that name, or one below it."""
    import obstore

    bucket, key = _split(url)
    try:
        return any(batch for batch in obstore.list(_bucket(bucket), prefix=key.strip("/"), chunk_size=1)) or (
            size_of(url) is not None
        )
    except StoreUnavailable:
        raise
    except Exception as error:
        raise unreachable(url, error) from error


def delete(url: str) -> None:
    """Take away an object, or all below a folder."""
    import obstore

    bucket, key = _split(url)
    store = _bucket(bucket)
    try:
        paths = [meta["path"] for batch in obstore.list(store, prefix=key.strip("/")) for meta in batch]
        obstore.delete(store, paths or [key])
    except FileNotFoundError:
        return
    except Exception as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: Exception) -> StoreUnavailable:
    """Return the error for a bucket that does not do what it is asked."""
    cause = str(error).partition("\n")[0][:300]
    return StoreUnavailable(
        f"{url} cannot be reached: {cause}",
        remedy="look at its name, your credentials (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, …) and "
        "AWS_ENDPOINT_URL; then the same command goes on",
    )


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _bucket(url: str) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise MissingExtra(library="obstore", extra="cloud", purpose=f"reading and writing {url}") from error
    try:
        return from_url(url)
    except Exception as error:
        raise unreachable(url, error) from error
