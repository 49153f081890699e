"""Encode: events as CloudEvents 1.0 on their topics, and the retained state of each alert.

The whole event stands in the payload (structured mode), so MQTT 3.1.1 loses nothing; MQTT 5
user properties repeat the attributes for consumers that route without reading payloads.
Attribute names: CloudEvents 1.0.2, with its extensions `causationid` and `severitytext`.
"""

from typing import Any, Final

import orjson

from config.model import Gateway
from config.model import Pipeline as Spec
from config.topics import TopicTemplate
from daemon.messages import Outgoing
from pipelines import events
from pipelines.events import Event, rfc3339
from pipelines.series import series_key

CONTENT_TYPE: Final = "application/cloudevents+json"


class Encoder:
    """Turns the events of one configuration into messages."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway.gateway
        self._routes = {
            name: _Route(gateway.gateway, name, spec) for name, spec in gateway.pipelines.items()
        }

    def encode(self, event: Event) -> list[Outgoing]:
        """The event itself, and after an alert's change its state: full or, cleared, empty."""
        attributes = self._attributes(event)
        body = {**attributes, "data": {**event.data, "causes": event.causes}}
        payload = orjson.dumps(body)
        properties = tuple((name, str(value)) for name, value in attributes.items())
        route = self._routes[event.pipeline]
        if event.type in {events.SAMPLE, events.WINDOW}:
            return [
                Outgoing(
                    topic=route.publish(event),
                    payload=payload,
                    qos=route.publish_qos,
                    retain=route.retain,
                    kind="window" if event.type == events.WINDOW else "sample",
                    properties=properties,
                    content_type=CONTENT_TYPE,
                )
            ]
        cleared = event.type == events.CLEARED
        topic, state_topic = route.alert(event)
        return [
            Outgoing(topic, payload, route.alert_qos, False, "alert", properties, CONTENT_TYPE),
            Outgoing(
                state_topic,
                b"" if cleared else payload,
                route.alert_qos,
                True,
                "state",
                () if cleared else properties,
                "" if cleared else CONTENT_TYPE,
            ),
        ]

    def state_filters(self) -> list[str]:
        """MQTT filters for the retained states of every alert."""
        return [found for route in self._routes.values() if (found := route.state_filter())]

    def _attributes(self, event: Event) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": event.id,
            "source": f"/sensorweir/{self.gateway}/{event.pipeline}",
            "type": event.type,
            "subject": series_key(event.labels),
            "time": rfc3339(event.time_ns),
            "datacontenttype": "application/json",
            "revision": event.revision,
        }
        if event.causes:
            attributes["causationid"] = event.causes[-1]
        if "severity" in event.data:
            attributes["severitytext"] = event.data["severity"]
        return attributes


class _Route:
    """Where the events of one pipeline go."""

    def __init__(self, gateway: str, name: str, spec: Spec) -> None:
        self._fixed = {"gateway": gateway, "pipeline": name}
        self._alerts = spec.alert is not None
        self._alert = self._state = self._publish = None
        self._defaults: dict[tuple[str, ...], TopicTemplate] = {}
        """By names of labels: all series of a pipeline have the same, or a few kinds."""
        self.alert_qos = self.publish_qos = 1
        self.retain = False
        if spec.alert is not None:
            self.alert_qos = spec.alert.qos
            self._alert = _template(spec.alert.topic)
            self._state = _template(spec.alert.state_topic)
        if spec.publish is not None:
            self._publish = _template(spec.publish.topic)
            self.publish_qos, self.retain = spec.publish.qos, spec.publish.retain

    def alert(self, event: Event) -> tuple[str, str]:
        """Topics of an alert's events and of its retained state."""
        topic = self._render(self._alert, event) or self._default(event)
        return topic, self._render(self._state, event) or f"state/{topic}"

    def state_filter(self) -> str | None:
        """A filter for the retained states of this pipeline, None when it has no alert."""
        if not self._alerts:
            return None
        if self._state is not None:
            return self._state.as_filter(self._fixed).subscription
        if self._alert is not None:
            return f"state/{self._alert.as_filter(self._fixed).subscription}"
        return f"state/alerts/{self._fixed['pipeline']}/#"

    def publish(self, event: Event) -> str:
        """Topic of a published sample or window."""
        return self._render(self._publish, event) or self._default(event)

    def _render(self, template: TopicTemplate | None, event: Event) -> str:
        return template.render({**dict(event.labels), **self._fixed}) if template else ""

    def _default(self, event: Event) -> str:
        names = tuple([name for name, _ in event.labels])
        template = self._defaults.get(names)
        if template is None:
            levels = "/".join(("alerts", "{pipeline}", *[f"{{{name}}}" for name in names]))
            template = self._defaults[names] = TopicTemplate.parse(levels)
        return template.render({**dict(event.labels), **self._fixed})


def _template(text: str | None) -> TopicTemplate | None:
    return None if text is None else TopicTemplate.parse(text)
