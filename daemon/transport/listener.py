"""Listener: an ordinary MQTT subscriber, outside the daemon, for the demonstration and tests."""

import threading
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion


class Listener:
    """Subscribes with QoS 1 and calls `on_message(topic, payload, retained)` in its own thread."""

    def __init__(
        self,
        url: str,
        filters: Iterable[str],
        on_message: Callable[[str, bytes, bool], None],
        username: str = "",
        password: str = "",
    ) -> None:
        """`url`: mqtt://host:port; 3.1.1, which every broker speaks."""
        self._filters = [(text, 1) for text in filters]
        self._tell = on_message
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
        if username:
            self._client.username_pw_set(username, password)
        self._client.on_connect = lambda client, *_: client.subscribe(self._filters)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._received
        place = urlsplit(url)
        self._address = (place.hostname or "localhost", place.port or 1883)

    def start(self, wait_s: float = 10.0) -> None:
        """Connect and subscribe. Raises OSError or TimeoutError when that does not succeed."""
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._subscribed.wait(wait_s):
            self.stop()
            raise TimeoutError(f"no answer to our subscription from {self._address}")

    def stop(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _received(self, client: Client, data: object, message: MQTTMessage) -> None:
        del client, data
        self._tell(message.topic, bytes(message.payload), message.retain)
