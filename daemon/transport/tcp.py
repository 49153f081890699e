"""Tcp: options of the socket under a connection, whatever wraps it (TLS, websocket)."""

import os
import socket

from daemon.transport.calls import confirm


class Tcp:
    """A second handle on the socket of a connection; close it before the connection."""

    def __init__(self, descriptor: int) -> None:
        """Small packets leave at once from now on."""
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> None:
        """Confirm at once what has come; Linux takes this back by itself, so after each read.

        A broker with Nagle's algorithm on (Mosquitto's default) keeps small packets back until
        that, and Linux would let it wait for up to 40 ms.
        """
        confirm(self._socket.fileno())

    def close(self) -> None:
        """Let go of the handle; the connection stays."""
        self._socket.close()
