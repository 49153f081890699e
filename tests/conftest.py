"""Kernels compiled by tests are kept between runs, in a folder named after their sources."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipelines import throttle
from pipelines.jit import Kernel, use_cache
from tests.daemons import CACHE, DaemonProcess
from tests.mosquitto import Mosquitto
from tests.operator_bounds import Child
from tests.watched import watched

assert "numba" not in sys.modules, "it looks for its cache once, when it loads"
os.environ.pop("NUMBA_CACHE_DIR", None)  # one shared with other sources may hold stale helpers
# A kernel that compiles within an example takes a second, and a minute where others work too: no
# deadline says anything here, nor how long the first examples took.
settings.register_profile(
    "sensorweir",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sensorweir")
use_cache(CACHE)

BOUNDS = pytest.StashKey[Child]()

Kernel.bound = watched


def pytest_collection_finish(session):
    """Begin at once with what takes a minute of its own, if some test will ask for it."""
    wanted = any("bounds_child" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        folder = Path(tempfile.mkdtemp(prefix="sensorweir-bounds-"))
        session.config.stash[BOUNDS] = Child(folder)


def pytest_sessionfinish(session):
    child = session.config.stash.get(BOUNDS, None)
    if child is not None:
        child.close()
        shutil.rmtree(child.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def bounds_child(request):
    """The contract suite's cases in a process that checks every index."""
    return request.config.stash[BOUNDS]


@pytest.fixture(scope="module")
def all_is_told():
    """Whatever is said at once: what is true is compared, not how much of it is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttle, "SERIES_SLACK_NS", 3600 * throttle.SERIES_EACH_NS)
        yield


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


@pytest.fixture
def daemons(tmp_path):
    """Starts daemon processes; at the end each must stop with status 0 and a balanced ledger."""
    made = []

    def make(config, name="daemon", before="", start=True):
        folder = tmp_path / name
        folder.mkdir()
        made.append(DaemonProcess(folder, config, before))
        return made[-1].start() if start else made[-1]

    yield make
    try:
        for process in made:
            process.close()
    finally:
        for process in made:
            if not process.ended:
                process.kill()


@pytest.fixture
def closing():
    """Keeps recorders and publishers and closes them: `closing(Recorder(url, "#"))`."""
    made = []

    def keep(client):
        made.append(client)
        return client

    yield keep
    for client in made:
        client.close()
