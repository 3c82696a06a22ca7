"""Fixtures for the tests of jobs."""

from __future__ import annotations

from tests.serving.conftest import server as server
from tests.serving.conftest import store as store
