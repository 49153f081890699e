"""Kernels compiled by tests are kept between runs, in a folder named after their sources."""

import os
from pathlib import Path

import pytest

from pipelines.jit import use_cache
from tests.mosquitto import Mosquitto

os.environ.pop("NUMBA_CACHE_DIR", None)  # one shared with other sources may hold stale helpers
use_cache(Path(__file__).parent.parent / ".cache" / "tests")


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory):
    """A broker that all tests share: use topics and client ids of your own, and leave it on."""
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    yield broker
    broker.stop()


@pytest.fixture
def own_mosquitto(tmp_path):
    """A broker for one test, not started yet, that keeps sessions over `stop` and `start`."""
    broker = Mosquitto(tmp_path, "persistence true", "persistence_location {folder}/")
    yield broker
    broker.stop()
