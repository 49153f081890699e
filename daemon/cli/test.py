"""`sensorweir test`: users test their own pipelines, in virtual time and without a broker."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from daemon.cli.common import Format, FormatOption, put_json
from daemon.cli.files import EX_CONFIG, EX_FAILED, EX_USAGE, read_config, say, say_problems

if TYPE_CHECKING:
    from config.trials import Suite
    from daemon.cli.junit import Result
    from daemon.trial import Progress, Stage

PATIENCE_S: Final = 1.0
PATTERNS: Final = ("*.test.yaml", "*.test.yml")

HELP: Final = """Test pipelines with samples written by hand, in virtual time and without a broker.

A test file stands beside the pipelines it tests and ends in .test.yaml:

\b
  tests:
    - name: hot for long enough, then cool for long enough
      pipeline: overheat
      every: 1s                    # from one sample to the next
      given:                       # topic.channel: samples from 0s on
        plant/north/boiler/b1/telemetry.temperature: 80x60 95x100 80x120
      expect:                      # all its alerts; [] is none
        - {at: 2m, within: 40s, type: alert.active, device: b1}
        - {at: 4m, within: 40s, type: alert.cleared, device: b1}

\b
Samples:    80x60       sixty times 80
            20+0.5x10   20, then ten steps of 0.5 up
            _  _x3      no sample, three times no sample
            nan         a sample arrives, its value is not known
            (5 5.1)x30  a pattern, thirty times
Expected:   type: alert.active, alert.cleared, alert.updated, window
            or sample; further keys: every label, severity, topic,
            value: 95, {above: 90, below: 99} or nan, data: {mean: 80},
            count: 2
Test:       until: 1h         time goes on without samples
            allow_more: true  other events may happen, too
            only: \\[window]    none of this type may happen unexpectedly
Whole file: config: ../gateway.yaml   default: the nearest gateway.yaml

Exit status 0: all passed · 1: some failed · 2: no test found · 78: a file is wrong.

Example:  sensorweir test pipelines.d -k overheat
"""


def run_tests(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Test files, or folders to look for *.test.yaml in. Default: this folder.",
            show_default=False,
        ),
    ] = None,
    keyword: Annotated[
        str | None, typer.Option("-k", help="Run tests with this text in their name or pipeline.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what happened in every test.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write a JUnit report for a CI server.")
    ] = None,
    output: FormatOption = Format.text,
) -> None:
    """Play test files and say what did not come out as expected; its help is `HELP`."""
    files = _files(paths or [Path()])
    suites, stages = _prepared(files)
    chosen = [
        (suite, index, stage)
        for suite, of_suite in zip(suites, stages, strict=True)
        for index, stage in enumerate(of_suite)
        if keyword is None
        or keyword.lower() in f"{stage.trial.name} {stage.trial.pipeline}".lower()
    ]
    if not chosen:
        where = ", ".join(str(p) for p in paths or [Path()])
        say(f"sensorweir: no test {f'with {keyword!r} ' if keyword else ''}found in {where}")
        say("  hint: a test file ends in .test.yaml; sensorweir test --help shows one")
        raise typer.Exit(EX_USAGE)
    results = _run(chosen, verbose, output)
    failed = sum(bool(r.failures) for r in results)
    if output is Format.json:
        put_json(
            {
                "passed": len(results) - failed,
                "failed": failed,
                "tests": [r.as_dict() for r in results],
            }
        )
    if junit is not None:
        from daemon.cli.junit import report

        junit.write_text(report(results), encoding="utf-8")
    if failed:
        raise typer.Exit(EX_FAILED)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Every test file below the paths, each once; a file that is named is one by that."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            below = sorted(f for pattern in PATTERNS for f in path.rglob(pattern))
            found |= dict.fromkeys(f for f in below if not _hidden(f.relative_to(path)))
        else:
            found[path] = None
    return list(found)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _prepared(files: Sequence[Path]) -> "tuple[list[Suite], list[list[Stage]]]":
    """All test files with their configurations; says every problem and ends where there is one."""
    from config.errors import ConfigError, Problem
    from config.model import Gateway
    from config.trials import read_suite
    from daemon.trial import prepare

    gateways: dict[Path, Gateway | None] = {}
    problems: list[Problem] = []
    suites, stages = [], []
    for file in files:
        try:
            suite = read_suite(file)
            if suite.config not in gateways:
                gateways[suite.config] = None
                gateways[suite.config] = read_config(suite.config).gateway
            gateway = gateways[suite.config]
            if gateway is not None:
                stages.append(prepare(suite, gateway))
                suites.append(suite)
        except ConfigError as error:
            problems += error.problems
    if problems:
        say_problems(tuple(dict.fromkeys(problems)))
        raise typer.Exit(EX_CONFIG)
    return suites, stages


def _run(
    chosen: "Sequence[tuple[Suite, int, Stage]]", verbose: bool, output: Format
) -> "list[Result]":
    """Play and judge; prints each file's outcome as soon as it is known."""
    from daemon.cli.junit import Result
    from daemon.cli.start import default_cache, progress
    from daemon.trial import warm_up
    from daemon.verdict import judge
    from pipelines.jit import use_cache

    cache = default_cache()
    if cache is not None:
        use_cache(cache)
    results: list[Result] = []
    logging.disable()  # what the engine would log of a payload is said as a failure
    try:
        warm_up([stage for *_, stage in chosen], _patient(progress()))
        for suite, index, stage in chosen:
            began = time.perf_counter()
            played = stage.play()
            took = time.perf_counter() - began
            failures = judge(stage.trial, played)
            result = Result(suite, index, stage.trial, played.told, tuple(failures), took)
            results.append(result)
            if output is Format.text:
                _print(result, verbose)
    finally:
        logging.disable(logging.NOTSET)
    if output is Format.text:
        failed = sum(bool(r.failures) for r in results)
        took = sum(r.took_s for r in results)
        words = f"{len(results) - failed} passed" + (f", {failed} failed" if failed else "")
        typer.echo(f"{words} in {took:.1f} s")
    return results


def _patient(show: "Progress") -> "Progress":
    """Says nothing of kernels that come out of the cache in no time."""
    began = time.monotonic()
    shown = False

    def later(name: str, done: int, of: int) -> None:
        nonlocal shown
        shown = shown or (time.monotonic() - began > PATIENCE_S and done < of)
        if shown:
            show(name, done, of)

    return later


def _print(result: "Result", verbose: bool) -> None:
    from config.errors import printable

    passed = not result.failures
    word = typer.style("ok  ", fg="green") if passed else typer.style("FAIL", fg="red")
    typer.echo(f"{word} {result.place}  {printable(result.trial.name)}")
    for line in result.explained if verbose or not passed else ():
        typer.echo(f"     {printable(line)}")
