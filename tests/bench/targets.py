"""Targets: what the hot path has to reach, one row each, and the README's table of them.

A figure is a ratio between two things that took turns in one run, or what a process shows of itself.
"""

import datetime as dt
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.bench.measure import Cost

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- targets: made by `{command}` -->", "<!-- end of targets -->"
COMMAND = "make figures"
HEAD = ("", "measured (range)", "target", "beside it, in the same run")


class Row(NamedTuple):
    """One target."""

    what: str
    cost: Cost | None
    """None: could not be measured, `beside` says why."""
    unit: str
    at_most: float | None
    at_least: float | None
    beside: str
    broken: str = ""
    """Why the figure does not count, whatever it is."""

    @property
    def met(self):
        """None where there is nothing to compare."""
        if self.cost is None or (self.at_most is None and self.at_least is None):
            return None
        if self.broken:
            return False
        if self.at_most is not None:
            return self.cost.median <= self.at_most
        return self.cost.median >= self.at_least

    @property
    def cells(self):
        goal = ""
        if self.at_most is not None:
            goal = f"≤ {number(self.at_most)}{self.unit}"
        elif self.at_least is not None:
            goal = f"≥ {number(self.at_least)}{self.unit}"
        if self.met is not None:
            goal += " ✓" if self.met else " ✗"
        broken = f"; **{self.broken}**" if self.broken else ""
        return self.what, self._measured, goal, self.beside + broken

    @property
    def _measured(self):
        if self.cost is None:
            return "not available here"
        shown = f"{number(self.cost.median)}{self.unit}"
        if self.cost.low != self.cost.high:
            shown += f" ({number(self.cost.low)} to {number(self.cost.high)})"
        return shown


def row(what, values, unit="x", at_most=None, at_least=None, beside="", broken=""):
    """`values`: of each round."""
    return Row(what, Cost.of(values), unit, at_most, at_least, beside, broken)


def absent(what, why):
    """A row that says why there is no figure."""
    return Row(what, None, "", None, None, why)


def ratios(found, of, to):
    """Ratio of two cases in each round; `found` is what `measure.rounds` gives."""
    return [a / b for a, b in zip(found[of], found[to], strict=True)]


def number(x):
    """With as many digits as mean something."""
    if x == 0 or abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def middle(values):
    return number(Cost.of(values).median)


def markdown(rows, about, left_out):
    """The table, with what it was measured on."""
    lines = [HEAD, ("---",) * len(HEAD), *(r.cells for r in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    out = f" Left out as disturbed: {left_out} rounds or runs." if left_out else ""
    return f"{_on(about)}.{out}\n\n{table}\n"


def write_readme(rows, about, left_out):
    """Put the table between its marks."""
    begin = BEGIN.format(command=COMMAND)
    text = README.read_text()
    place = re.compile(re.escape(begin) + ".*?" + re.escape(END), re.DOTALL)
    assert len(place.findall(text)) == 1, f"README.md needs one {begin} and behind it one {END}"
    made = f"{begin}\n{markdown(rows, about, left_out)}{END}"
    README.write_text(place.sub(lambda _: made, text))


def _on(about):
    broker = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    said = subprocess.run([broker, "-h"], capture_output=True, text=True, check=False).stdout
    version = said.split("\n", 1)[0].removeprefix("mosquitto version ")
    day = dt.datetime.now(dt.UTC).date()
    return (
        f"{day}: {about['cpu']}, {about['cores']} shared cores, Python {about['python']}, "
        f"numpy {about['numpy']}, Mosquitto {version}; one `orjson.loads` of a small message costs "
        f"{about['control_ns']} ns there, waking up after a millisecond to do nothing "
        f"{about['null_waker_us']} µs"
    )
