"""Generated pages are as the code would write them now; links in hand-written ones lead somewhere."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from daemon.cli.describe import COUNTERS, describe
from pipelines.operator import load_all
from tests.plots import svg
from tests.write_docs import FOLDER, INDEX, index, page

ROOT = Path(__file__).parent.parent
PAGES = [p for p in ROOT.rglob("*.md") if not {".venv", ".cache"} & set(p.relative_to(ROOT).parts)]
PICTURE_BYTES_MAX = 8192
every_operator = pytest.mark.parametrize("name", sorted(load_all()))


def test_list_of_operators_is_current():
    assert INDEX.read_text() == index(), "run: make docs"


@every_operator
def test_page_of_operator_is_current(name):
    assert (FOLDER / f"{name}.md").read_text() == page(name), "run: make docs"


@every_operator
def test_picture_of_operator_is_current_and_small(name):
    drawn = (FOLDER / f"{name}.svg").read_text()
    assert drawn == svg(name), "run: make docs"
    assert len(drawn.encode()) <= PICTURE_BYTES_MAX
    root = ET.fromstring(drawn)
    assert {"●"} <= {e.text[0] for e in root.iter() if e.tag.endswith("tspan")}


def test_no_page_is_of_an_operator_that_is_gone():
    assert {p.stem for p in FOLDER.iterdir()} == set(load_all())


def test_every_counter_has_its_words():
    used = {counter for op in load_all().values() for counter in describe(op).counters}
    assert used == set(COUNTERS)


@every_operator
def test_all_that_can_be_said_is_said(name):
    about = describe(load_all()[name])
    assert about.meaning
    assert all(p.meaning and p.kind for p in about.parameters)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
