"""Numbers that size a step's memory: the same for all series, and another one is a fresh start."""

import json

import pytest
from pydantic import ValidationError

from config.errors import ConfigError
from config.load import load
from config.params import Options
from config.references import is_number, referable
from pipelines.operator import columns, load_all, pack
from tests.graphs import Feed, b, graph
from tests.operator_runs import cases, example_options

SIZED = [
    pytest.param(operator, name, id=f"{operator.name}-{name}")
    for operator in load_all().values()
    for name in sorted(operator.sized_by)
    if is_number(operator.params.model_fields[name])
]
CASES = [param.values[0] for param in cases()]
NUMBERS = (0.5, 0, 1, 2, 3, 4, 5, 8, 12, 16, 31, 33, 64, 100, 250, 1000)


class AnyOptions(Options):
    pass


def sizes(operator, params):
    """{width's name: how wide} of the state of a step with these parameters."""
    packed = pack(operator, [params], 1)
    widths = {c.width for c in columns(operator.state).values() if isinstance(c.width, str)}
    return {width: int(getattr(packed, width).max()) for width in widths}


def changed(operator, params, name):
    """Sizes with other numbers for one parameter, where these are possible."""
    given = params.model_dump(exclude_unset=True, by_alias=True)
    for number in NUMBERS:
        try:
            other = type(params).model_validate({**given, name: number})
        except ValidationError:
            continue
        yield sizes(operator, other)


@pytest.mark.parametrize("operator", [pytest.param(op, id=n) for n, op in load_all().items()])
def test_numbers_that_may_differ_by_device_size_nothing(operator):
    tried = set()
    for params in (p for case in CASES if case.operator is operator for p in case.sets):
        for name in referable(operator):
            for other in changed(operator, params, name):
                assert other == sizes(operator, params), name
                tried.add(name)
    assert tried == set(referable(operator))


def test_numbers_that_are_said_to_size_do():
    for operator in load_all().values():
        given = [operator.params.model_validate(example_options(operator))]
        given += [p for case in CASES if case.operator is operator for p in case.sets]
        for name in getattr(operator.params, "SIZED_BY", ()):
            if is_number(operator.params.model_fields[name]):
                assert any(
                    other != sizes(operator, params)
                    for params in given
                    for other in changed(operator, params, name)
                ), (operator.name, name)


def test_the_ones_that_are_known():
    found = {tuple(p.values[0].name + "." + p.values[1] for p in SIZED)}
    assert {"hampel.n", "dedupe.keep", "count_window.n", "time_profile.last"} <= set(*found)


@pytest.mark.parametrize(("operator", "name"), SIZED)
def test_a_reference_there_is_refused_at_its_place(tmp_path, operator, name):
    path, options = tmp_path / "gateway.yaml", example_options(operator) | {name: "{size}"}
    lines = [
        "sources: {s: {topic: 'a/{device}'}}",
        "pipelines:",
        "  p:",
        "    from: s",
        f"    steps: [{operator.name}: {json.dumps(options)}]",
        "    values: {size: {default: 40, by: {device: {a: 20}}}}",
        "    publish: {topic: out}",
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as caught:
        load(path, load_all(), {"json": AnyOptions}, {})
    found = {(p.line, p.column, p.what, p.hint) for p in caught.value.problems}
    what = f"{name!r} sizes the memory of the step and cannot differ by device"
    assert (5, lines[4].index('"{size}"') + 1, what, "write a number") in found


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("hampel", {"n": 5, "min_samples": 3}, {"n": 9, "min_samples": 3}),
        ("dedupe", {"by": "value", "keep": 2}, {"by": "value", "keep": 1}),
        ("count_window", {"n": 4, "step": 2}, {"n": 4, "step": 1}),
        ("time_profile", {"last": 4}, {"last": 2}),
    ],
)
def test_a_reload_with_another_size_starts_afresh(operator, before, after):
    def spec(options):
        return {"from": "boilers", "steps": [{operator: options}], "publish": {"topic": "x"}}

    old = graph({"p": spec(before), "other": spec(before)})
    rows = [(t, b("b1"), 90 + t % 3) for t in range(30)]
    Feed(old).send(rows)
    new = graph({"p": spec(after), "other": spec(before)}, keep=old)
    assert new.pipelines["other"] is old.pipelines["other"]
    assert new.pipelines["p"] is not old.pipelines["p"]
    alone = graph({"p": spec(after)})
    more = [(t, b("b1"), 90 + t % 5) for t in range(30, 60)]
    assert values(Feed(new).send(more)) == values(Feed(alone).send(more))


def values(events):
    """What pipeline p told, without ids."""
    return [(e.type, e.time_ns, e.data) for e in events if e.pipeline == "p"]
