"""A wire to the broker that can be cut, and that can damage what the broker sends."""

import random
import selectors
import socket
import threading
from typing import NamedTuple


class Broker(NamedTuple):
    """Where a daemon finds the broker through the wire, and everybody else without it."""

    url: str
    port: int


class Wire:
    """Forwards connections to a port of this machine, in a thread of its own."""

    def __init__(self, port, seed=1):
        self.port, self.cuts, self.flips = port, 0, 0
        self.flip_share = 0.0
        """Share of the pieces from the broker in which one bit is turned round."""
        self._rng, self._pairs = random.Random(seed), {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def broker(self):
        """For `Plant` and the like."""
        return Broker(f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}", self.port)

    def cut(self):
        """End all connections at once, in the midst of whatever they carry."""
        with self._lock:
            self.cuts += bool(self._pairs)
            for end in list(self._pairs):
                self._end(end)

    def close(self):
        self._ended.set()
        self._thread.join()
        self.cut()
        self._listener.close()
        self._selector.close()

    def _run(self):
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._forward(key.fileobj)

    def _accept(self):
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self.port))
        self._pairs |= {near: (far, False), far: (near, True)}
        for end in (near, far):
            end.settimeout(5)
            self._selector.register(end, selectors.EVENT_READ)

    def _forward(self, end):
        to, from_broker = self._pairs[end]
        try:
            data = bytearray(end.recv(65_536))
            if data and from_broker and self._rng.random() < self.flip_share:
                self.flips += 1
                data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
            to.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._end(end)

    def _end(self, end):
        if end not in self._pairs:
            return
        other, _ = self._pairs.pop(end)
        self._pairs.pop(other, None)
        for one in (end, other):
            self._selector.unregister(one)
            one.close()
