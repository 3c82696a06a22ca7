import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="the console is asked through httpx")
pytest.importorskip("sklearn", reason="the example system trains with scikit-learn")
import httpx
from tests.ui import seed

from drivetrain.store.store import Store
from drivetrain.system.settings import Project
from drivetrain.system.system import System
from drivetrain.ui.app import console

ADDRESS = "http://127.0.0.1:4200"


class Visitor:
    """Asks a console in this process, without a socket."""

    def __init__(self, store: Store, system: System, settings: Mapping[str, Any]) -> None:
        self.app = console(store, system, Project(root=store.root, values=dict(settings)))

    def ask(self, path: str, *, method: str = "GET", **options: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())


Open = Callable[..., Visitor]


@pytest.fixture(scope="session")
def system() -> System:
    return seed.system()


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the whole story in it."""
    return seed.seeded(tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="session")
def prediction(told: Store) -> str:
    return seed.answered(told)


@pytest.fixture
def visitor(told: Store, system: System) -> Visitor:
    return Visitor(told, system, {})


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path)
