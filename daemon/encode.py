"""Encode: events as CloudEvents 1.0 on their topics, and the retained state of each alert.

The whole event stands in the payload (structured mode), so MQTT 3.1.1 loses nothing; MQTT 5
user properties repeat the attributes for consumers that route without reading payloads.
Attribute names: CloudEvents 1.0.2, with its extensions `causationid` and `severitytext`, and our
own: `revision`, `correction` and `hops`.
"""

import re
from typing import Any, Final

import orjson

from config.alert import OnRetract
from config.model import Gateway, Source
from config.model import Pipeline as Spec
from config.topics import TopicTemplate, safe
from daemon.messages import Kind, Outgoing
from pipelines import events, notices
from pipelines.events import Event, rfc3339
from pipelines.series import Labels, series_key

CONTENT_TYPE: Final = "application/cloudevents+json"
SUMMARY: Final = "alerts/{pipeline}/withheld"
_PUBLISHED: Final = {
    kind for rows in (events.SAMPLE, events.WINDOW) for kind in (rows, events.RETRACTED[rows])
}
_OF_SOURCES: Final = {notices.LATE, notices.FUTURE}


class Encoder:
    """Turns the events of one configuration into messages."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway.gateway
        self._routes = {
            name: _Route(gateway.gateway, name, spec) for name, spec in gateway.pipelines.items()
        }
        self._notices = {
            name: _Notices(gateway.gateway, name, source)
            for name, source in gateway.sources.items()
        }

    def encode(self, event: Event) -> list[Outgoing]:
        """The event itself, and after an alert's change its state: full or, cleared, empty.

        Of one that is withheld only the state.
        """
        payload, properties = self._written(event)
        if event.type in _OF_SOURCES:
            topic = self._notices[event.pipeline].topic(event)
            return [Outgoing(topic, payload, 1, False, "sample", properties, CONTENT_TYPE)]
        route = self._routes[event.pipeline]
        if event.type in _PUBLISHED:
            return self._published(route, event)
        qos = route.alert_qos
        if event.type == events.WITHHELD:
            return [Outgoing(route.summary, payload, qos, False, "alert", properties, CONTENT_TYPE)]
        topic, state_topic = route.alert(event.labels)
        told = [Outgoing(topic, payload, qos, False, "alert", properties, CONTENT_TYPE)]
        if event.withheld:
            told = []
        if event.standing is None:
            stands: Event | None = event if _stays(event) else None
        else:
            stands = event.standing.event
        if stands is None:
            state = Outgoing(state_topic, b"", qos, True, "state")
            undone = None
            if told and event.type == events.RETRACTED[events.ACTIVE]:
                undone = route.undone(event)
            if undone is None:
                return [*told, state]
            topic, text = undone
            undoing = Outgoing(topic, text or payload, route.undo_qos, False, "alert")
            return [*told, state, undoing]
        if stands is not event:
            payload, properties = self._written(stands)
        state = Outgoing(state_topic, payload, qos, True, "state", properties, CONTENT_TYPE)
        return [*told, state]

    def state_topic(self, pipeline: str, labels: Labels) -> str | None:
        """Where the state of an alert is kept; None for what is no pipeline with an alert.

        Raises ValueError or KeyError for labels that cannot stand in a topic, or are missing.
        """
        route = self._routes.get(pipeline)
        return route.alert(labels)[1] if route and route.state_filter() else None

    def state_filters(self) -> list[str]:
        """MQTT filters for the retained states of every alert."""
        return [found for route in self._routes.values() if (found := route.state_filter())]

    def _published(self, route: "_Route", event: Event) -> list[Outgoing]:
        """A sample or window; what is kept is the newest, also when an older one is corrected."""
        stands = event.standing.event if event.standing else event
        shown = [(event, route.retain and stands is not None and stands.id == event.id)]
        taken_back = route.retain and event.correction == "retracted"
        if taken_back and stands is not None and stands.time_ns <= event.time_ns:
            shown.append((stands, True))  # what is taken back was the newest
        kind: Kind = "window" if "window" in event.type else "sample"
        made = []
        for each, retain in shown:
            payload, properties = self._written(each)
            topic, qos = route.publish(each), route.publish_qos
            made.append(Outgoing(topic, payload, qos, retain, kind, properties, CONTENT_TYPE))
        return made

    def _written(self, event: Event) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """Payload and user properties."""
        attributes = self._attributes(event)
        body = {**attributes, "data": {**event.data, "causes": event.causes}}
        return orjson.dumps(body), tuple((name, str(v)) for name, v in attributes.items())

    def _attributes(self, event: Event) -> dict[str, Any]:
        teller = f"sources/{event.pipeline}" if event.type in _OF_SOURCES else event.pipeline
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": event.id,
            "source": f"/sensorweir/{self.gateway}/{teller}",
            "type": event.type,
            "subject": series_key(event.labels),
            "time": rfc3339(event.time_ns),
            "datacontenttype": "application/json",
            "revision": event.revision,
        }
        if event.hops:
            attributes["hops"] = event.hops
        if event.correction:
            attributes["correction"] = event.correction
        if event.causes:
            attributes["causationid"] = event.causes[-1]
        if "severity" in event.data:
            attributes["severitytext"] = event.data["severity"]
        return attributes


class _Route:
    """Where the events of one pipeline go."""

    def __init__(self, gateway: str, name: str, spec: Spec) -> None:
        self._fixed = {"gateway": gateway, "pipeline": name}
        self.summary = TopicTemplate.parse(SUMMARY).render(self._fixed)
        """Topic on which is told what was withheld."""
        self._alerts = spec.alert is not None
        self._alert = self._state = self._publish = None
        self._undo: OnRetract | None = None
        self._defaults: dict[tuple[str, ...], TopicTemplate] = {}
        """By names of labels: all series of a pipeline have the same, or a few kinds."""
        self.alert_qos = self.publish_qos = self.undo_qos = 1
        self.retain = False
        if spec.alert is not None:
            self.alert_qos = spec.alert.qos
            self._alert = _template(spec.alert.topic)
            self._state = _template(spec.alert.state_topic)
            self._undo = spec.alert.on_retract
            if self._undo is not None:
                self.undo_qos = self._undo.qos
        if spec.publish is not None:
            self._publish = _template(spec.publish.topic)
            self.publish_qos, self.retain = spec.publish.qos, spec.publish.retain

    def alert(self, labels: Labels) -> tuple[str, str]:
        """Topics of an alert's events and of its retained state."""
        topic = self._render(self._alert, labels) or self._default(labels)
        return topic, self._render(self._state, labels) or f"state/{topic}"

    def state_filter(self) -> str | None:
        """A filter for the retained states of this pipeline, None when it has no alert."""
        if not self._alerts:
            return None
        if self._state is not None:
            return self._state.as_filter(self._fixed).subscription
        if self._alert is not None:
            return f"state/{self._alert.as_filter(self._fixed).subscription}"
        return f"state/alerts/{self._fixed['pipeline']}/#"

    def undone(self, event: Event) -> tuple[str, bytes] | None:
        """Topic and payload of what undoes an alert; no payload: the retraction itself."""
        if self._undo is None or event.data["retracts"] != events.ACTIVE:
            return None
        words = {
            **{name: str(event.data[name]) for name in ("alert", "since", "pipeline")},
            "labels": series_key(event.labels),
            **dict(event.labels),
        }

        def filled(value: object) -> object:
            if not isinstance(value, str):
                return value
            return re.sub(r"\{(\w+)\}", lambda m: words.get(m[1], m[0]), value)

        given = self._undo.payload
        if isinstance(given, dict):
            body = orjson.dumps({name: filled(value) for name, value in given.items()})
        else:
            body = str(filled(given)).encode() if given is not None else b""
        return self._render(_template(self._undo.publish), event.labels), body

    def publish(self, event: Event) -> str:
        """Topic of a published sample or window."""
        return self._render(self._publish, event.labels) or self._default(event.labels)

    def _render(self, template: TopicTemplate | None, labels: Labels) -> str:
        return template.render({**dict(labels), **self._fixed}) if template else ""

    def _default(self, labels: Labels) -> str:
        names = tuple([name for name, _ in labels])
        template = self._defaults.get(names)
        if template is None:
            levels = "/".join(("alerts", "{pipeline}", *[f"{{{name}}}" for name in names]))
            template = self._defaults[names] = TopicTemplate.parse(levels)
        return template.render({**dict(labels), **self._fixed})


class _Notices:
    """Where a source tells of late samples and of clocks that run ahead."""

    def __init__(self, gateway: str, name: str, source: Source) -> None:
        self._fixed = {"gateway": gateway, "source": name}
        self._templates = {
            notices.LATE: _template(source.late_topic),
            notices.FUTURE: _template(source.future_topic),
        }

    def topic(self, event: Event) -> str:
        """Topic of such an event."""
        template = self._templates[event.type]
        labels = {**dict(event.labels), **self._fixed}
        if template is not None:
            return template.render(labels)
        first = "late" if event.type == notices.LATE else "quarantine"
        return "/".join((first, *(safe(v) for v in (event.pipeline, *dict(event.labels).values()))))


def _stays(event: Event) -> bool:
    """Whether the state of an alert is kept: while it is active, or its series is shelved."""
    return event.data["state"] == "active" or "shelved" in event.data


def _template(text: str | None) -> TopicTemplate | None:
    return None if text is None else TopicTemplate.parse(text)
