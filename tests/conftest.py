"""Kernels compiled by tests are kept between runs, in a folder named after their sources."""

import os
from pathlib import Path

from pipelines.jit import use_cache

os.environ.pop("NUMBA_CACHE_DIR", None)  # one shared with other sources may hold stale helpers
use_cache(Path(__file__).parent.parent / ".cache" / "tests")
