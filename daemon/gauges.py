"""Gauges: numbers that are read from their owners when somebody asks, beside the ledger's."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.app import App


def gauges(app: "App") -> dict[str, tuple[str, Callable[[], float]]]:
    """By name: help, and how to read it."""
    engine = app.engine

    def counted(name: str) -> Callable[[], float]:
        """Sum of one counter over the steps of all pipelines, since each of them began."""
        return lambda: sum(
            n
            for pipeline in list(engine.graph.pipelines.values())
            for key, n in pipeline.counters().items()
            if key.rpartition(".")[2] == name
        )

    return {
        "alerts_active": (
            "Alerts that are active now.",
            lambda: sum(p.active for p in engine.graph.pipelines.values()),
        ),
        "series": (
            "Series known, over all sources.",
            lambda: sum(len(s.table) for s in engine.graph.sources.values()),
        ),
        "series_forgotten": (
            "Series that were silent for limits.series_idle_min and made room for others.",
            lambda: sum(s.table.forgotten for s in engine.graph.sources.values()),
        ),
        "pipelines": ("Pipelines running.", lambda: len(engine.graph.pipelines)),
        "window_samples_late": ("Samples for windows already closed.", counted("late")),
        "window_samples_truncated": (
            "Samples that left a window early, because of limits.state_bytes_max.",
            counted("truncated"),
        ),
        "samples_amended": (
            "Late rows that pipelines with amend_for have taken, each pipeline for itself.",
            counted("amended"),
        ),
        "samples_amend_too_late": (
            "Rows that came too late even for that: amend_for, limits.amend_rows_max.",
            counted("amend_too_late"),
        ),
        "amend_differs": (
            "Rows that turned out otherwise than told, though none was late; is always 0.",
            counted("amend_differs"),
        ),
        "alerts_withheld": (
            "Alert events told as states and in summaries: limits.pipeline_alerts_per_s_max.",
            counted("withheld"),
        ),
        "pipeline_series_refused": (
            "Series that a pipeline had no room for, because of limits.series_max.",
            counted("series_refused"),
        ),
        "samples_hurried": (
            "Samples that could not wait for earlier ones: limits.reorder_samples_max.",
            lambda: engine.graph.hurried + counted("hurried")(),
        ),
        "record_failed": (
            "1 when the recording has ended because of its disk.",
            lambda: bool(app.recorder and app.recorder.failed),
        ),
        "record_waiting_bytes": (
            "What came in and is not on disk yet.",
            lambda: app.recorder.waiting_bytes if app.recorder else 0,
        ),
        "turns": ("Turns of the engine since the start.", lambda: engine.turns),
        "time_held": (
            "1 while what the broker has kept for us is still coming, so that time waits.",
            lambda: app.canary.held,
        ),
    } | (app.durability.gauges() if app.durability else {})
