"""What runs: transport, decoding, the engine's turn, publishing, metrics, command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sensorweir")
except PackageNotFoundError:  # run from a clone that was never installed
    __version__ = "0.0.0"
