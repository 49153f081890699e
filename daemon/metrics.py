"""Metrics: the ledger and a few gauges in the form that Prometheus scrapes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from daemon.ledger import LABELS, Count, Gauge, Ledger

PREFIX: Final = "sensorweir_"

HELP: Final[Mapping[Count | Gauge, str]] = {
    Count.MESSAGES_RECEIVED: "Messages that came from the broker.",
    Count.MESSAGES_COPIED: "Further copies of messages that several sources want.",
    Count.MESSAGES_DUPLICATE: "Messages that the broker sent again though we had them.",
    Count.MESSAGES_ACCEPTED: "Messages of which at least one reading was used.",
    Count.MESSAGES_REJECTED: "Messages that could not be read, by reason.",
    Count.READINGS_REJECTED: "Single readings within messages that could not be read, by reason.",
    Count.SAMPLES_DECODED: "Samples found in messages.",
    Count.SAMPLES_RESTORED: "Samples that waited for earlier ones in the state that was loaded.",
    Count.SAMPLES_USED: "Samples that went through the pipelines.",
    Count.SAMPLES_LATE: "Samples that came after their time had been passed over.",
    Count.SAMPLES_DUPLICATE: "Samples that the series already had.",
    Count.SAMPLES_FUTURE: "Samples from too far in the future.",
    Count.SAMPLES_DROPPED: "Samples given up because of a limit, by reason.",
    Count.SAMPLES_UNKNOWN: "Samples whose value was no number.",
    Count.OUTPUTS_PRODUCED: "Messages that the pipelines wanted to publish, by kind.",
    Count.OUTPUTS_PUBLISHED: "Messages that the broker has taken, by kind.",
    Count.OUTPUTS_DISCARDED: "Messages given up, by kind and reason.",
    Count.CONNECTIONS: "Connections that the broker accepted.",
    Count.CONNECTION_FAILURES: "Connections that ended or never came to be.",
    Count.SESSIONS_LOST: "Times that the broker had forgotten our session.",
    Count.SUBSCRIPTIONS_REFUSED: "Subscriptions that the broker refused.",
    Count.ACKNOWLEDGEMENTS_STALE: "Acknowledgements left out because the connection was gone.",
    Count.CALLBACK_ERRORS: "Faults of ours within the transport; each cost one connection.",
    Count.LOG_LINES_SUPPRESSED: "Log lines left out because they repeated.",
    Gauge.INBOX_MESSAGES: "Messages waiting for the engine.",
    Gauge.INBOX_BYTES: "Bytes waiting for the engine.",
    Gauge.OUTBOX_MESSAGES: "Messages that the broker has not taken yet.",
    Gauge.OUTBOX_BYTES: "Bytes that the broker has not taken yet.",
    Gauge.OUTBOX_IN_FLIGHT: "Messages sent and not yet acknowledged.",
    Gauge.SAMPLES_BUFFERED: "Samples that wait for earlier ones.",
    Gauge.CONNECTED: "1 while the connection is up.",
    Gauge.PACKETS_IN_BULK: "0 where this paho lets nobody read packets before it: slow.",
}


class LedgerCollector(Collector):
    """Reads the ledger at each scrape."""

    def __init__(
        self, ledger: Ledger, gauges: Mapping[str, tuple[str, Callable[[], float]]]
    ) -> None:
        self._ledger, self._gauges = ledger, gauges

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Every number, also those that are 0 so far and have no labels."""
        families: dict[Count | Gauge, CounterMetricFamily | GaugeMetricFamily] = {}
        for name in (*Count, *Gauge):
            kind = CounterMetricFamily if isinstance(name, Count) else GaugeMetricFamily
            families[name] = kind(PREFIX + str(name), HELP[name], labels=LABELS.get(name, ()))
        seen = set()
        for name, labels, value in self._ledger.rows():
            families[name].add_metric(list(labels.values()), value)
            seen.add(name)
        for name, family in families.items():
            if name not in seen and name not in LABELS:
                family.add_metric([], 0)
            yield family
        for text, (help_text, read) in self._gauges.items():
            yield GaugeMetricFamily(PREFIX + text, help_text, value=read())


def registry(
    ledger: Ledger, gauges: Mapping[str, tuple[str, Callable[[], float]]] | None = None
) -> CollectorRegistry:
    """A registry of its own: the ledger, `gauges` {name: (help, read)}, and the process."""
    made = CollectorRegistry()
    made.register(LedgerCollector(ledger, gauges or {}))
    ProcessCollector(registry=made)
    return made
