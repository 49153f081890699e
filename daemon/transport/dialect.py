"""Dialect: MQTT 5 where the broker speaks it, else 3.1.1."""

import logging
import threading
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion

from config.model import Broker
from daemon.transport.address import V5, V311

log = logging.getLogger(__name__)

UNSUPPORTED: Final = 0x84


SILENT_MAX: Final = 2
"""Connections that a broker may close without an answer before we try the other version."""
ANSWER_S: Final = 10.0
FIRST_ANSWER_S: Final = 4.0
"""While nobody has spoken MQTT 5 with us: amqtt 0.12 does not answer to some MQTT 5 greetings."""


class Dialect:
    """The protocol of the next attempt, per connection.

    A broker that refuses MQTT 5 by name is believed until the process ends.  One that hangs up
    without an answer may just be starting: 3.1.1 is tried, and after a loss MQTT 5 again.
    """

    def __init__(self, broker: Broker) -> None:
        self._asked = broker.protocol
        self._lock = threading.Lock()
        self._refused = False
        self._said = False
        self._spoke_5 = False
        self._spoken: dict[str, MQTTProtocolVersion] = {}
        self._silent: dict[str, int] = {}
        self._accepted: set[str] = set()

    def choose(self, connection: str) -> MQTTProtocolVersion:
        """What to speak in the next attempt."""
        with self._lock:
            silent = self._silent.get(connection, 0) >= SILENT_MAX
            if connection not in self._accepted and self._accepted and not self._spoke_5:
                silent = True  # the other connection has waited in vain for both of us
            old = self._asked == "3.1.1" or (self._asked == "auto" and (self._refused or silent))
            self._spoken[connection] = V311 if old else V5
            return self._spoken[connection]

    def refused(self, connection: str) -> bool:
        """Note that the broker does not know this version; True when another is worth a try."""
        with self._lock:
            if self._asked != "auto" or self._spoken[connection] != V5:
                return False
            self._refused = True
            return True

    def patience_s(self, connection: str) -> float:
        """How long to wait for the broker's answer."""
        doubtful = self._asked == "auto" and self._spoken[connection] == V5 and not self._spoke_5
        return FIRST_ANSWER_S if doubtful else ANSWER_S

    def no_answer(self, connection: str, *, hung_up: bool) -> None:
        """Note that the broker took the connection and then closed it, or said nothing."""
        with self._lock:
            if self._spoken[connection] != V5:
                self._silent[connection] = 0
            else:
                step = 1 if hung_up else SILENT_MAX
                self._silent[connection] = self._silent.get(connection, 0) + step

    def accepted(self, connection: str) -> None:
        """Note that the broker speaks what we chose; says so once when that is the older one."""
        with self._lock:
            fell_back = self._asked == "auto" and self._spoken[connection] == V311
            self._spoke_5 = self._spoke_5 or self._spoken[connection] == V5
            self._silent[connection] = 0
            self._accepted.add(connection)
            say, self._said = fell_back and not self._said, self._said or fell_back
        if say:
            log.warning(
                "The broker does not speak MQTT 5, going on with 3.1.1",
                extra={"facts": {"receive_maximum": "the broker's own, often 20"}},
            )

    def text(self, connection: str) -> str:
        """'5' or '3.1.1', the latest choice."""
        return "3.1.1" if self._spoken.get(connection) == V311 else "5"
