"""Generated pages are as the code would write them now; links in hand-written ones lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.write_docs import PAGE, page

ROOT = Path(__file__).parent.parent
PAGES = [p for p in ROOT.rglob("*.md") if not {".venv", ".cache"} & set(p.relative_to(ROOT).parts)]


def test_operators_page_is_current():
    assert PAGE.read_text() == page(), "run: make docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
