"""Signatures: which pickles this project wrote itself, or a person vouched for. Reading any other one is refused."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.errors import Refused, StoreUnavailable

if TYPE_CHECKING:
    from drivetrain.store.digest import Digest

# Servers and containers are given the key by the environment.
VARIABLE = "DRIVETRAIN_PICKLE_KEY"
FEWEST_CHARACTERS = 32
_OTHERS = 0o077


class Signatures:
    """Keeps an HMAC-SHA-256 of each pickle, one small file each, under a key that only the project's owner can read.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> _ = (root / "model").write_bytes(b"...")
    >>> digest = "sha256:" + "a" * 64
    >>> Signatures(root).sign(digest, root / "model")
    >>> Signatures(root).is_signed(digest, root / "model")
    True
    """

    def __init__(self, root: Path) -> None:
        self.folder, self._key_file = root / "signatures", root / "key"

    def sign(self, digest: Digest, path: Path) -> None:
        """Vouch for the bytes of a file.

        Raises:
            Refused: the key cannot be used.
            StoreUnavailable: the signature cannot be written.
        """
        signature = self._signature(path, make=True)
        place = self.place(digest)
        scratch = place.with_name(f".{place.name}-{os.getpid()}-{os.urandom(4).hex()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch.write_text(signature, encoding="ascii")
            scratch.replace(place)
        except OSError as error:
            raise StoreUnavailable(f"the signature {place} cannot be written: {error.strerror}") from error

    def is_signed(self, digest: Digest, path: Path) -> bool:
        """Return whether somebody who has the key vouched for these bytes.

        Raises:
            Refused: the key cannot be used.
        """
        try:
            kept = self.place(digest).read_text(encoding="ascii")
        except (FileNotFoundError, ValueError):
            return False
        found = self._signature(path, make=False)
        return bool(found) and hmac.compare_digest(kept.encode(), found.encode())

    def check(self, digest: Digest, path: Path) -> None:
        """Refuse what nobody vouched for.

        Raises:
            Refused: there is no signature, or another one.
        """
        if not self.is_signed(digest, path):
            raise Refused(
                f"an artifact is a pickle that this project did not sign ({path}); reading it can run any code",
                remedy="run its step again with --force; or, if you trust whoever wrote it, "
                f"`drivetrain store sign {digest}`; a server needs the key that it was signed with, in {VARIABLE}",
            )

    def place(self, digest: Digest) -> Path:
        """Return where the signature of an artifact lies."""
        return self.folder / digest[7:]

    def _signature(self, path: Path, *, make: bool) -> str:
        key = self._key(make=make)
        if not key:
            return ""
        state = hmac.new(key, digestmod="sha256")
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                state.update(chunk)
        return state.hexdigest()

    def _key(self, *, make: bool) -> bytes:
        given = os.environ.get(VARIABLE, "")
        if given:
            if len(given) < FEWEST_CHARACTERS:
                raise Refused(
                    f"{VARIABLE} has {len(given)} characters, which can be guessed",
                    remedy=f"give it at least {FEWEST_CHARACTERS}, such as what `openssl rand -hex 32` prints",
                )
            return given.encode()
        try:
            if make and not self._key_file.exists():
                self._make_key()
            mode = self._key_file.stat().st_mode
            if mode & _OTHERS:
                raise Refused(
                    f"the key {self._key_file} can be read by others, who could sign with it",
                    remedy=f"`chmod 600 {self._key_file}`; delete it instead if somebody may have read it",
                )
            return self._key_file.read_bytes().strip()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Refused(
                f"the key {self._key_file} cannot be used: {error.strerror}",
                remedy=f"give this process the key in {VARIABLE}, or let its user read the file",
            ) from error

    def _make_key(self) -> None:
        """Write a new key; of several processes that do so at once, the first one's stays."""
        scratch = self._key_file.with_name(f"key-{os.getpid()}-{os.urandom(4).hex()}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(secrets.token_hex(32).encode())
                file.flush()
                os.fsync(file.fileno())
            os.link(scratch, self._key_file)
        except FileExistsError:
            pass
        finally:
            scratch.unlink(missing_ok=True)
