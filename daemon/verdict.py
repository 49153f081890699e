"""Verdict: whether what a trial told is what its author expected, and what to say if not.

Each line of `expect` claims one event (or `count` of them) that fits it, and no event is claimed
twice; of the types in question none may be left over.  Lines that could claim the same events
share them out so that as many lines as possible are satisfied.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from config.trials import ALERTS, EventType, Expectation, Range, Trial
from config.trials import Wanted as Number
from config.units import duration_ns
from daemon.trial import Played, Told

RELATIVE: Final = 1e-6
"""A number that is written without bounds is meant to six digits."""
SHOWN_MAX: Final = 12
ENDS: Final = ("alert.cleared", "alert.retracted")
COLUMNS: Final = 60
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason why a trial failed."""

    expected: int | None
    """Index of the line in `expect` that was not satisfied; None for what was not expected."""
    text: str
    """For people, one or more lines."""


def judge(trial: Trial, played: Played) -> list[Failure]:
    """Why the trial failed; empty when it passed."""
    told = played.told
    failures = [Failure(None, f"not used: {what}") for what in played.unused]
    claims = _claims(trial, told)
    owner = {event: line for line, events in enumerate(claims) for event in events}
    named: set[int] = set()
    for line, expected in enumerate(trial.expect):
        if len(claims[line]) < expected.count:
            text, near = _missing(trial, line, told, claims[line], owner)
            failures.append(Failure(line, text))
            named |= near
    judged = _judged(trial)
    failures += [
        Failure(None, f"not expected: {shown(event)}")
        for i, event in enumerate(told)
        if event.type in judged and i not in owner and i not in named
    ]
    return failures


def shown(event: Told) -> str:
    """An event in one line."""
    labels = " ".join(f"{k}={v}" for k, v in event.labels.items())
    names = ["value"] if "value" in event.data else [*event.data]
    numbers = [f"{n} {_number(event.data[n])}" for n in names if _is_number(event.data[n])]
    return ", ".join((f"{event.type} {labels} at {offset(event.at_ns)}", *numbers))


def happened(told: Sequence[Told]) -> list[str]:
    """What was told, one line an event, the first ones of very many."""
    lines = [shown(event) for event in told[:SHOWN_MAX]]
    if len(told) > SHOWN_MAX:
        lines.append(f"... and {len(told) - SHOWN_MAX} more")
    return lines


def timeline(trial: Trial, told: Sequence[Told]) -> list[str]:
    """When each alert was active, drawn: one line a series, `#` where active, below a scale."""
    rows: dict[str, list[Told]] = {}
    for event in told:
        if event.type in ALERTS:
            rows.setdefault(" ".join(f"{k}={v}" for k, v in event.labels.items()), []).append(event)
    if not rows:
        return []
    end = max(trial.end_ns, 1)
    right = offset(end)
    lines = [f"0s{right:>{COLUMNS - 2}}"]
    for name, events in list(rows.items())[:SHOWN_MAX]:
        drawn, active, done = "", False, 0
        for event in events:
            column = min(COLUMNS - 1, event.at_ns * COLUMNS // end)
            drawn += ("#" if active else ".") * (column - done)
            done, active = max(column, done), event.type not in ENDS
        drawn += ("#" if active else ".") * (COLUMNS - done)
        lines.append(f"{drawn}  {name}")
    return lines


def offset(ns: int) -> str:
    """Time since the first sample as people write it: 2m10s, 1h, 0.25s."""
    seconds, rest = divmod(ns, 1_000_000_000)
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    parts = ((days, "d"), (hours, "h"), (minutes, "m"))
    text = "".join(f"{n}{unit}" for n, unit in parts if n)
    if seconds or rest or not text:
        text += f"{seconds}{fraction}s"
    assert duration_ns(text) == ns or ns > 2**53, text
    return text


# --- who claims what -----------------------------------------------------------------------


def _claims(trial: Trial, told: Sequence[Told]) -> list[set[int]]:
    """Indices of the events that each line claims: a largest matching, by augmenting paths."""
    fitting = [
        [i for i, event in enumerate(told) if not _unlike(trial, expected, event)]
        for expected in trial.expect
    ]
    claims: list[set[int]] = [set() for _ in trial.expect]
    owner: dict[int, int] = {}

    def claim(line: int, asked: set[int]) -> bool:
        asked.add(line)
        for event in fitting[line]:
            holder = owner.get(event)
            if holder == line:
                continue
            if holder is None or (holder not in asked and claim(holder, asked)):
                if holder is not None:
                    claims[holder].discard(event)
                owner[event] = line
                claims[line].add(event)
                return True
        return False

    for line, expected in enumerate(trial.expect):
        free = [event for event in fitting[line] if event not in owner]
        claims[line].update(free[: expected.count])
        owner.update(dict.fromkeys(claims[line], line))
        while len(claims[line]) < expected.count and claim(line, set()):
            pass
    return claims


def _judged(trial: Trial) -> set[str]:
    """Types of which nothing may happen unexpectedly."""
    if trial.allow_more:
        return set()
    if trial.only is not None:
        return set(trial.only)
    return set(ALERTS) if trial.expect else set(get_args(EventType))


def _unlike(trial: Trial, expected: Expectation, event: Told) -> list[str]:
    """In what an event differs from an expectation, what people look at first in front."""
    found = [] if event.type == expected.type else [f"is {event.type}"]
    found += [
        f"{name} is {event.labels[name]}" if name in event.labels else f"has no label {name}"
        for name, value in expected.all_labels.items()
        if event.labels.get(name) != value
    ]
    if expected.topic is not None and expected.topic != event.topic:
        found.append(f"published to {event.topic}")
    severity = event.data.get("severity")
    if expected.severity is not None and severity != expected.severity:
        found.append(f"severity is {severity}")
    if expected.revision is not None and event.revision != expected.revision:
        found.append(f"revision is {event.revision}")
    if expected.value is not None:
        found += _differs("value", expected.value, event.data)
    for name, number in expected.data.items():
        found += _differs(name, number, event.data)
    until = expected.at + trial.within(expected)
    if event.at_ns < expected.at:
        found.append(f"{offset(expected.at - event.at_ns)} too early")
    elif event.at_ns > until:
        found.append(f"{offset(event.at_ns - until)} too late")
    return found


def _differs(name: str, wanted: Number, data: Mapping[str, Any]) -> Iterator[str]:
    number = _at(data, name)
    if number is None:
        if wanted != "nan":
            yield f"{name} is not known"
    elif not _is_number(number):
        numbers = [k for k, v in data.items() if _is_number(v)]
        yield f"has no number {name}, it has {', '.join(numbers) or 'none'}"
    elif not _fits(number, wanted):
        yield f"{name} is {number:.9g}"


def _fits(number: float, wanted: Number) -> bool:
    if wanted == "nan":
        return False
    if not isinstance(wanted, Range):
        return math.isclose(number, wanted, rel_tol=RELATIVE, abs_tol=1e-12)
    above = wanted.above is None or number > wanted.above
    return above and (wanted.below is None or number < wanted.below)


def _at(data: Mapping[str, Any], path: str) -> Any:
    """The entry at a dotted path, `_ABSENT` where there is none."""
    found: Any = data
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _ABSENT
        found = found[part]
    return found


# --- words ---------------------------------------------------------------------------------


def _missing(
    trial: Trial, line: int, told: Sequence[Told], claimed: set[int], owner: Mapping[int, int]
) -> tuple[str, set[int]]:
    """What to say of a line that was not satisfied, and the events that it says it of."""
    expected = trial.expect[line]
    text = f"expected {_wanted(trial, expected)}"
    if expected.count > 1:
        text += f"\nfound    {len(claimed)} of {expected.count}"
    free = [i for i, e in enumerate(told) if e.type == expected.type and i not in claimed]
    if not free:
        return f"{text}\nno {'other ' if claimed else ''}{expected.type} happened", set()

    def distance(i: int) -> tuple[int, int]:
        unlike = _unlike(trial, expected, told[i])
        return len(unlike) + (i in owner), abs(told[i].at_ns - expected.at)

    near = min(free, key=distance)
    why = _unlike(trial, expected, told[near])
    if near in owner:
        why.append("another line expects it")
    return f"{text}\nnearest  {shown(told[near])}: {', '.join(why)}", {near}


def _wanted(trial: Trial, expected: Expectation) -> str:
    words = [expected.type, *(f"{k}={v}" for k, v in expected.all_labels.items())]
    if expected.topic is not None:
        words.append(f"on {expected.topic}")
    if expected.revision is not None:
        words.append(f"revision {expected.revision}")
    if expected.severity is not None:
        words.append(f"severity {expected.severity}")
    numbers = {"value": expected.value} if expected.value is not None else {}
    for name, number in {**numbers, **expected.data}.items():
        words.append(f"{name} {_bounds(number)}")
    until = expected.at + trial.within(expected)
    when = f"from {offset(expected.at)} to {offset(until)}"
    return f"{' '.join(words)} {when if until > expected.at else f'at {offset(until)}'}"


def _bounds(wanted: Number) -> str:
    if wanted == "nan":
        return "not known"
    if not isinstance(wanted, Range):
        return f"{wanted:.9g}"
    sides = (("above", wanted.above), ("below", wanted.below))
    return " and ".join(f"{side} {bound:.9g}" for side, bound in sides if bound is not None)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
