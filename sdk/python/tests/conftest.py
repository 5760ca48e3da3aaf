"""Fixtures: see world.py."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import world  # noqa: E402


@pytest.fixture
def daemon() -> Iterator[world.FakeDaemon]:
    with world.fake_daemon() as served:
        yield served


@pytest.fixture
def log() -> world.Log:
    log = world.Log()
    log.fill(5)
    return log
