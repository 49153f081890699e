"""The broker: what a probe of it found, in words."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from config.model import Broker, Gateway
from config.topics import TopicFilter, TopicTemplate
from daemon.canary import canary_topic
from daemon.doctor.finding import Finding, fail, ok, warn
from daemon.transport.ingest import RECEIVE_MAXIMUM
from daemon.transport.probe import VERSION_TOPIC, Report

WINDOW_311: Final = 20
"""Messages without acknowledgement that brokers send a 3.1.1 client, which cannot ask for more."""
PACKET_BYTES_MIN: Final = 65_536
NOBODY_LISTENS: Final = 0x10
_VERSION: Final = re.compile(r"mosquitto version (\d+)\.(\d+)\.(\d+)")


def filters(gateway: Gateway) -> list[str]:
    """What the daemon subscribes to for samples and commands."""
    wanted = [TopicFilter.parse(source.topic).subscription for source in gateway.sources.values()]
    if gateway.command_topic is not None:
        command = TopicTemplate.parse(gateway.command_topic)
        wanted.append(command.render({"gateway": gateway.gateway}))
    return wanted


def check_broker(gateway: Gateway, report: Report, commit_delay_ns: int | None) -> list[Finding]:
    """`commit_delay_ns`: how long acknowledgements wait for others; 0 or None when they do not."""
    found = [_privacy(gateway.broker)]
    if report.error:
        return [*found, _unreachable(gateway.broker, report.error)]
    seen = f"{gateway.broker.url} answers in {report.connect_ms:.0f} ms"
    found += [
        ok("broker.reach", seen, "the way there, the login and the certificate are good"),
        _version(report.version),
        _protocol(gateway.broker, report.protocol),
        _window(report.protocol, commit_delay_ns),
        _limits(gateway, report),
        _subscriptions(gateway, report),
        _canary(gateway, report),
    ]
    return found


def _privacy(broker: Broker) -> Finding:
    name, url = "broker.privacy", urlsplit(broker.url)
    host = url.hostname or ""
    if broker.tls is not None and broker.tls.insecure:
        return warn(
            name,
            "tls.insecure: true",
            "anybody on the way can pretend to be the broker",
            "give tls.ca the authority of its certificate (deploy/make-tls.sh makes one)",
        )
    if url.scheme in {"mqtts", "wss", "unix"} or _is_here(host):
        return ok(name, broker.url, "nobody on the network reads along")
    return warn(
        name,
        f"{broker.url} is not encrypted",
        "passwords, samples and alerts can be read and forged on the way",
        "mqtts:// with certificates: deploy/make-tls.sh, deploy/mosquitto-debian.conf",
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unreachable(broker: Broker, error: str) -> Finding:
    hints = {
        "ConnectionRefusedError": "start the broker, or correct host and port of broker.url",
        "gaierror": "correct the host of broker.url, or the name server of this machine",
        "TimeoutError": "a firewall, or a wrong address; the unit allows localhost alone "
        "(IPAddressAllow= in deploy/sensorweir.service)",
        "PermissionError": "a firewall; the unit allows localhost alone "
        "(IPAddressAllow= in deploy/sensorweir.service)",
        "FileNotFoundError": "correct the path of the socket, or of a file under broker.tls",
        "SSL": "broker.tls.ca must name the authority of the broker's certificate, and the host of "
        "broker.url one of its names",
        "refused": "correct broker.username, password or certificate; the broker's log says more",
        "closed": "the broker may want a certificate (broker.tls), TLS (mqtts://) or none (mqtt://)",
    }
    way_out = next(
        (hint for start, hint in hints.items() if start in error), "see the broker's log"
    )
    return fail(
        "broker.reach",
        f"{broker.url}: {error}",
        "nothing comes in and nothing goes out; the daemon waits and tries again for ever",
        way_out,
    )


def _version(said: str) -> Finding:
    name, match = "broker.version", _VERSION.search(said)
    if not said:
        return warn(
            name,
            f"{VERSION_TOPIC} tells nothing",
            "not Mosquitto, or we may not read it: what it is known for cannot be looked up",
            f"in Mosquitto's access control list, for the reading user: topic read {VERSION_TOPIC}",
        )
    if match is None:
        return ok(name, said, "nothing is known against it")
    version = tuple(map(int, match.groups()))
    if version < (2, 0, 13):
        return warn(
            name,
            said,
            "it sends more than was asked for (up to 6,578 messages instead of 20), and forgets what "
            "it confirmed when it is killed, unless it is set up otherwise",
            "2.1 with deploy/mosquitto-durable.conf; else deploy/mosquitto-debian.conf",
        )
    if version < (2, 1):
        return warn(
            name,
            said,
            "killed, it forgets what it confirmed since it last wrote: 30 minutes, as shipped",
            "2.1 with deploy/mosquitto-durable.conf; else deploy/mosquitto-debian.conf",
        )
    return ok(
        name, said, "with deploy/mosquitto-durable.conf it keeps what it confirmed; as shipped not"
    )


def _protocol(broker: Broker, protocol: str) -> Finding:
    name = "broker.protocol"
    if protocol == "5":
        return ok(
            name, "MQTT 5", "the broker says what it refuses, and sends as much as we ask for"
        )
    why = "as asked for" if broker.protocol == "3.1.1" else "MQTT 5 was refused"
    return warn(
        name,
        f"MQTT 3.1.1, {why}",
        "alerts that the broker refuses are lost without a word, and its window is small",
        "protocol: auto, with a broker that speaks MQTT 5",
    )


def _window(protocol: str, commit_delay_ns: int | None) -> Finding:
    name = "broker.window"
    if not commit_delay_ns:
        return ok(
            name,
            "messages are acknowledged without delay",
            "the broker's window sets no limit to what comes in",
        )
    window, whose = (RECEIVE_MAXIMUM, "ours") if protocol == "5" else (WINDOW_311, "the broker's")
    per_s = window * 1e9 / commit_delay_ns
    delay = f"{commit_delay_ns / 1e6:g} ms"
    seen = f"window of {window:,} messages ({whose}) / commit_delay of {delay}"
    means = f"at most {per_s:,.0f} messages/s of QoS 1 come in; more wait in the broker"
    if protocol == "5":
        return ok(name, seen, means)
    return warn(name, seen, means, "a broker that speaks MQTT 5, or several readings in a message")


def _limits(gateway: Gateway, report: Report) -> Finding:
    """What the broker's CONNACK takes away; 3.1.1 says nothing of it."""
    name, limits = "broker.limits", report.limits
    wild = [text for text in filters(gateway) if set("+#") & set(text)]
    if limits.get("MaximumQoS", 2) < 1:
        return fail(
            name,
            "it takes QoS 0 alone",
            "every break of a connection loses messages and alerts",
            "another broker, or a setting of this one",
        )
    if not limits.get("WildcardSubscriptionAvailable", 1) and wild:
        return fail(
            name,
            "it takes no wildcards",
            f"nothing comes in for {wild[0]}",
            "another broker, or one source for each topic",
        )
    if not limits.get("RetainAvailable", 1):
        return warn(
            name,
            "it keeps no retained messages",
            "the state of alerts cannot be looked up, nor recalled after a start",
            "allow retained messages on the broker",
        )
    packet = limits.get("MaximumPacketSize", PACKET_BYTES_MIN)
    if packet < PACKET_BYTES_MIN:
        return warn(
            name,
            f"it takes packets of {packet:,} bytes at most",
            "larger outputs are given up: outputs_discarded{reason=too_big}",
            "raise it (Mosquitto: max_packet_size 262144)",
        )
    return ok(name, "QoS 1, wildcards and retained messages", "all that is needed is granted")


def _subscriptions(gateway: Gateway, report: Report) -> Finding:
    name, refused = "broker.subscriptions", report.refused
    if report.unanswered:
        return fail(
            name,
            "the broker does not answer to a subscription",
            "nothing comes in",
            "see the broker's log",
        )
    if refused:
        text, why = next(iter(refused.items()))
        return fail(
            name,
            f"{len(refused)} refused, such as {text}: {why}",
            "its messages never come in",
            f"allow the reading user{_who(gateway.broker)}: topic read {text}",
        )
    return ok(
        name,
        f"{len(filters(gateway))} filters, all granted",
        "some brokers (Mosquitto 2.0) grant everything and then keep it back: see broker.canary",
    )


def _canary(gateway: Gateway, report: Report) -> Finding:
    name, topic = "broker.canary", canary_topic(gateway)
    writes = f"allow the publishing user{_who(gateway.broker.publisher)}: topic write {topic}"
    silent = "alerts may not leave either"
    if report.publisher_error:
        return fail(
            name,
            f"the publishing user cannot log in: {report.publisher_error}",
            "no alert leaves",
            "correct broker.publish_as, or give it a certificate or password on the broker",
        )
    if report.heard_ms is not None:
        seen = f"{topic} there and back in {report.heard_ms:.1f} ms"
        return ok(name, seen, "one user may write what the other may read")
    code = report.confirmed
    if code is None:
        return fail(name, f"{topic} was not confirmed", silent, "see the broker's log")
    if code >= 0x80:
        return fail(name, f"{topic} was refused: 0x{code:02x}", silent, writes)
    if report.protocol != "5":
        either = f"{writes}; and the reading user{_who(gateway.broker)}: topic read {topic}"
        return fail(
            name,
            f"{topic} was confirmed and never came",
            "one of the two users is kept from it; 3.1.1 does not say which",
            either,
        )
    heard = "nobody listens" if code == NOBODY_LISTENS else "confirmed and never came"
    return fail(
        name,
        f"{topic}: {heard}",
        "the broker grants subscriptions and keeps their messages back; samples may be among them",
        f"allow the reading user{_who(gateway.broker)}: topic read {topic}",
    )


def _who(broker: Broker) -> str:
    return f" {broker.username}" if broker.username else ""
