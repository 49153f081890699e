"""The example of each operator: a configuration and its test file, `config/examples/operators`."""

from functools import cache
from pathlib import Path

from config.trials import read_suite
from daemon.cli.files import read_config
from daemon.trial import prepare

FOLDER = Path(__file__).parents[1] / "config" / "examples" / "operators"


def config_path(name):
    return FOLDER / f"{name}.yaml"


@cache
def loaded(name):
    """What `sensorweir validate` reads. Raises ConfigError with every problem."""
    return read_config(config_path(name))


@cache
def stages(name):
    """The trials of the example, ready to be played, as `sensorweir test` makes them."""
    suite = read_suite(FOLDER / f"{name}.test.yaml")
    assert suite.config.name == f"{name}.yaml"
    return prepare(suite, loaded(name).gateway)
