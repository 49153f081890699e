"""Kernels compiled ahead of time: they need no numba, give the same bits, or are not used."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from daemon.cli.files import read_config
from pipelines import jit, warmup
from pipelines.ahead import store as store_module
from pipelines.ahead.entry import copied, unpacked
from pipelines.ahead.image import Image, ImageError
from pipelines.ahead.linked import Linked
from pipelines.ahead.signature import signature
from pipelines.ahead.store import Store, machine
from pipelines.ahead.symbols import resolve
from pipelines.graph import Graph
from pipelines.jit import Kernel, kernel, make_ahead
from pipelines.operator import OPERATORS
from pipelines.runner import rows_needed
from tests import ahead_child
from tests.operator_runs import cases, interpreted

ROOT = Path(__file__).parent.parent
SOME = ["validate-0", "rolling-0", "missing-0", "quorum-0"]
EXAMPLES = sorted(
    path
    for path in (ROOT / "config" / "examples" / "operators").glob("*.yaml")
    if not path.name.endswith(".test.yaml")
)
ALL = [param.id for param in cases()]


@kernel
def halved(x, out):
    """Half of each, and their sum; a kernel that compiles in no time."""
    total = 0.0
    for i in range(x.size):
        out[i] = x[i] / 2
        total += out[i]
    return total


halved.__module__ = "pipelines.halved"  # the store keeps our own kernels alone
OF = (np.arange(5.0), np.zeros(5))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty one that kernels look into."""
    monkeypatch.setattr(Kernel, "ahead", Store(tmp_path / "ahead"))
    monkeypatch.setattr(jit, "BY_NUMBA", set())
    monkeypatch.setattr(halved, "_known", {})
    return Kernel.ahead


@pytest.fixture
def made(store, monkeypatch):
    """A store with one kernel."""
    make_ahead(store, "halves", lambda: halved(*copied(OF)))
    monkeypatch.setattr(Kernel, "ahead", store)
    assert store.refused == {}
    assert store.has("halves")
    return store


def compared(tmp_path, names):
    """Outputs of these cases by numba here, and without it in a process of its own."""
    cache = tmp_path / "cache"
    store = Store(folder_of(cache))
    for case in ahead_child.chosen(names).values():
        call = warmup._caller(case.operator, case.sets[0])
        make_ahead(store, case.operator.name, call)
    make_ahead(store, "rows", lambda: rows_needed(np.zeros(1, np.int32)))
    assert store.refused == {}
    out = tmp_path / "out.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.ahead_child", cache, out, *names],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(out))


def folder_of(cache):
    """Where a process with this cache looks."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    try:
        return jit.use_cache(cache) / f"ahead-{machine()}"
    finally:
        os.environ["NUMBA_CACHE_DIR"] = before


def equal(tmp_path, names):
    found = compared(tmp_path, names)
    assert {name.split("/")[0] for name in found} == set(names)
    for ident, case in ahead_child.chosen(names).items():
        for name, column in ahead_child.columns(ident, case).items():
            assert column.tobytes() == found[name].tobytes(), name


@pytest.mark.timeout(600)  # it may be the first that compiles them
def test_operators_give_the_same_bits_without_numba(tmp_path):
    equal(tmp_path, SOME)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_all_operators_give_the_same_bits_without_numba(tmp_path):
    equal(tmp_path, ALL)


def test_a_kernel_that_is_there_is_used(made):
    x, out = copied(OF)
    assert halved(x, out) == 5.0
    assert out.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert set() == jit.BY_NUMBA
    assert halved._known[signature(OF)] is not halved.compiled


def test_a_kernel_is_used_on_other_processors_too(made, monkeypatch):
    """With another loader, which is slower and works everywhere."""
    from pipelines.ahead import entry  # noqa: PLC0415 - what is patched

    used = []
    monkeypatch.setattr(entry, "LOADER", lambda *args: used.append(Linked(*args)) or used[-1])
    assert halved(*copied(OF)) == 5.0
    assert len(used) == 1
    assert not jit.BY_NUMBA


@pytest.mark.parametrize(
    "args",
    [
        (np.arange(5.0)[::2], np.zeros(5)),
        (np.arange(5), np.zeros(5)),
        (np.arange(5.0).astype(np.float32), np.zeros(5)),
    ],
    ids=["not contiguous", "whole numbers", "short"],
)
def test_arguments_of_other_types_are_for_numba(made, args):
    assert halved(*args) == args[0].sum() / 2
    assert {"pipelines.halved.halved"} == jit.BY_NUMBA


def test_what_code_depends_on_is_in_the_signature():
    array = np.zeros((3, 4))
    locked = array.copy()
    locked.flags.writeable = False
    ab, ba = (NamedTuple("T", [(name, int) for name in names]) for names in ("ab", "ba"))
    values = [
        *(
            array,
            locked,
            array.T,
            array[:, ::2],
            array.astype("f4"),
            np.zeros(3),
            ab(1, 1),
            ba(1, 1),
        ),
        *((1, 1), 1, 1.0, True, None, np.int32(1), np.int64(1)),
    ]
    assert len({signature((value,)) for value in values}) == len(values)
    assert signature((array,)) == signature((np.ones((7, 1)),))


def test_a_damaged_file_is_not_used(made):
    [path] = made.folder.glob("*.kernel")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert halved(*copied(OF)) == 5.0
    assert made.refused == {"pipelines.halved.halved": "the file is damaged"}
    assert {"pipelines.halved.halved"} == jit.BY_NUMBA


def test_a_kernel_that_gives_something_else_here_is_not_used(made, monkeypatch):
    """Its code is whole; what it refers to is not what it was."""
    from pipelines.ahead import entry  # noqa: PLC0415 - what is patched

    [path] = made.folder.glob("*.kernel")
    monkeypatch.setattr(entry, "_answer", lambda *_: "4.5")
    with pytest.raises(ImageError, match="does not give what it gave"):
        unpacked("pipelines.halved.halved", signature(OF), path.read_bytes())


def test_a_kernel_of_another_name_is_not_used(made):
    [path] = made.folder.glob("*.kernel")
    for name, of in (("pipelines.x.halved", OF), ("pipelines.halved.halved", OF[:1])):
        with pytest.raises(ImageError, match="another kernel"):
            unpacked(name, signature(of), path.read_bytes())


def test_kernels_of_other_packages_are_left_to_numba(store, monkeypatch):
    """Their sources are not part of the folder's name."""
    monkeypatch.setattr(halved, "__module__", "theirs")
    make_ahead(store, "halves", lambda: halved(*copied(OF)))
    assert "not part of sensorweir" in store.refused["theirs.halved"]
    assert store.has("halves")
    assert not list(store.folder.glob("*.kernel"))


def test_code_that_cannot_be_loaded_is_refused():
    for data in (b"", b"\x7fELF", bytes(200)):
        with pytest.raises(ImageError, match="no ELF object"):
            Image(data, resolve)
    program = bytearray(64)
    program[:7] = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<HH", program, 16, 2, 62)
    with pytest.raises(ImageError, match="type 2"):
        Image(bytes(program), resolve)
    with pytest.raises(ImageError, match="nobody knows no_such_symbol"):
        resolve("no_such_symbol")


def test_another_processor_has_a_folder_of_its_own(tmp_path, monkeypatch):
    here = machine()
    assert machine() == here
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    generic = machine()
    monkeypatch.delenv("NUMBA_CPU_NAME")
    other = tmp_path / "modalias"
    other.write_text("cpu:type:x86,ven0002fam0019mod0001:feature:,0000")
    monkeypatch.setattr(store_module, "_MODEL", (str(other),))
    assert len({here, generic, machine()}) == 3


def test_sources_that_were_written_again_make_nothing_anew(tmp_path, monkeypatch):
    """An installation of the same version over itself changes times of files, not what is in them."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(jit, "HOMES", ("pipelines",))
    copy = tmp_path / "lib" / "pipelines"
    copy.mkdir(parents=True)
    (copy / "jit.py").write_text("a = 1")
    monkeypatch.setattr(jit, "__file__", str(copy / "jit.py"))
    before = jit.use_cache(tmp_path)
    os.utime(copy / "jit.py", (1, 1))
    assert jit.use_cache(tmp_path) == before
    (copy / "jit.py").write_text("a = 2")
    assert jit.use_cache(tmp_path) != before


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_warms_up_stays_within_bounds(example):
    """Kernels are judged by these calls, so they take true rows; plain Python checks each index."""
    graph = Graph(read_config(example).gateway, OPERATORS)
    with interpreted():
        for _, call in warmup.steps(graph):
            call()
