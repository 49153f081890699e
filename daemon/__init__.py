"""What runs: transport, decoding, the engine's turn, publishing, metrics, command line."""

__version__ = "0.1.0"
"""The package's version too: `pyproject.toml` has it from here, so that a start need not look for it."""
