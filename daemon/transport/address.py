"""Address: the broker's URL and TLS options, to a paho client that is ready to connect."""

import ssl
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from config.model import Broker, Tls
from daemon.transport.lane import LaneClient

CONNECT_TIMEOUT_S: Final = 5.0
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443, "unix": 1}

V5: Final = MQTTProtocolVersion.MQTTv5
V311: Final = MQTTProtocolVersion.MQTTv311


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect and how."""

    host: str
    """Host name; the path of the socket for unix."""
    port: int
    carrier: Literal["tcp", "websockets", "unix"]
    tls: bool
    path: str

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a URL that the configuration model has checked."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return cls(parts.path, _PORTS["unix"], "unix", tls=False, path="")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or _PORTS[parts.scheme],
            carrier="websockets" if parts.scheme in {"ws", "wss"} else "tcp",
            tls=parts.scheme in {"mqtts", "wss"},
            path=parts.path or "/mqtt",
        )


def new_client(
    broker: Broker,
    client_id: str,
    protocol: MQTTProtocolVersion,
    *,
    clean: bool,
    in_bulk: bool = False,
) -> Client:
    """A client for one connection; raises OSError when a TLS file cannot be read.

    `in_bulk`: its packets go through a lane, which somebody must read.

    It never reconnects by itself and never writes outside `loop_write`: a supervisor drives it.
    """
    address = Address.of(broker.url)
    client = (LaneClient if in_bulk else Client)(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if protocol == V5 else clean,
        protocol=protocol,
        transport=address.carrier,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    # Its own limit of 20 would queue inside the client, where we could not settle anything.
    client.max_inflight_messages_set(65_535)
    client.on_socket_register_write = lambda *_: None
    if address.carrier == "websockets":
        client.ws_set_options(path=address.path)
    if broker.username is not None:
        password = broker.password
        client.username_pw_set(
            broker.username, None if password is None else password.get_secret_value()
        )
    if address.tls:
        tls = broker.tls or Tls()
        client.tls_set_context(tls_context(tls))
        client.tls_insecure_set(tls.insecure)
    return client


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Made anew for each connection, so that renewed certificates are found."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
