"""Results of tests: as text, as JSON, and as the JUnit XML that CI servers read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from config.errors import printable
from config.trials import Suite, Trial
from daemon.trial import Told
from daemon.verdict import Failure, happened, timeline


@dataclass(frozen=True, slots=True)
class Result:
    """One test that was run."""

    suite: Suite
    index: int
    trial: Trial
    told: tuple[Told, ...]
    failures: tuple[Failure, ...]
    took_s: float

    @property
    def place(self) -> str:
        """file:line of the test."""
        return f"{self.suite.path}:{self.suite.line(self.index)}"

    def line(self, failure: Failure) -> int:
        """The line of the file that a failure is about."""
        if failure.expected is None:
            return self.suite.line(self.index)
        return self.suite.line(self.index, "expect", failure.expected)

    @property
    def explained(self) -> list[str]:
        """Why it failed, what happened, and when; lines for people."""
        lines = []
        for failure in self.failures:
            first, *more = failure.text.split("\n")
            at = "" if failure.expected is None else f"line {self.line(failure)}: "
            lines += [at + first, *(" " * len(at) + text for text in more)]
        lines.append("what happened:" if self.told else "nothing happened")
        lines += [f"  {text}" for text in happened(self.told)]
        return lines + [f"  {text}" for text in timeline(self.trial, self.told)]

    def as_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "file": str(self.suite.path),
            "line": self.suite.line(self.index),
            "name": self.trial.name,
            "pipeline": self.trial.pipeline,
            "passed": not self.failures,
            "duration_s": round(self.took_s, 3),
            "failures": [{"line": self.line(f), "text": f.text} for f in self.failures],
            "events": [
                {
                    "at_s": t.at_ns / 1e9,
                    "type": t.type,
                    "labels": t.labels,
                    "topic": t.topic,
                    "data": t.data,
                }
                for t in self.told
            ],
        }


def report(results: Sequence[Result]) -> str:
    """JUnit XML: one suite, one case a test, whose class is the test file."""
    failed = sum(bool(r.failures) for r in results)
    took = sum(r.took_s for r in results)
    counts = f'tests="{len(results)}" failures="{failed}" errors="0" skipped="0"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="sensorweir" {counts} time="{took:.3f}">',
    ]
    for result in results:
        case = (
            f"<testcase classname={_attribute(str(result.suite.path))} "
            f"name={_attribute(result.trial.name)} file={_attribute(str(result.suite.path))} "
            f'line="{result.suite.line(result.index)}" time="{result.took_s:.3f}"'
        )
        if not result.failures:
            lines.append(f"  {case}/>")
            continue
        first = result.failures[0].text.split("\n")[0]
        text = "&#10;".join(_attribute(line)[1:-1] for line in result.explained)
        lines.append(f"  {case}>")
        lines.append(f"    <failure message={_attribute(first)}>{text}</failure>")
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>", ""])


def _attribute(text: str) -> str:
    """Quoted, without the characters that no XML may hold."""
    return quoteattr(printable(text))
