"""A fake broker as a process of its own: sends as fast as its client can read, from packets made once.

    python -m tests.bench.blaster        prints its port

MQTT 3.1.1.  Who subscribes to `blast/<messages>/<qos>/<anything>` is sent so many PUBLISH packets of
`traffic.traffic`; for QoS 1 it waits for as many PUBACKs, and then hangs up.
"""

import contextlib
import re
import socket
import subprocess
import sys
import threading
from functools import cache

from tests.bench.targets import ROOT
from tests.bench.traffic import traffic

BLOCK = 10_000
"""Messages are sent in multiples of that, which begin with the same packet id."""
PUBACK_BYTES = 4
SETTLED_S = 0.05
CONNACK, PINGRESP = b"\x20\x02\x00\x00", b"\xd0\x00"
WISH = re.compile(rb"blast/(\d+)/([01])/")


@cache
def block(qos):
    return traffic(BLOCK, qos)


class Blaster:
    """The process, from outside."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.blaster"], stdout=subprocess.PIPE, cwd=ROOT
        )
        self.port = int(self.process.stdout.readline())

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


def serve(client):
    """One connection."""
    with client, contextlib.suppress(OSError):
        assert client.recv(4096)[0] == 0x10
        client.sendall(CONNACK)
        asked = b""
        while not (wish := WISH.search(asked)):
            asked = client.recv(4096)
            if not asked:
                return
        messages, qos = map(int, wish.groups())
        client.sendall(b"\x90\x03" + asked[2:4] + bytes([qos]))
        threading.Event().wait(SETTLED_S)  # until who counts CPU time has begun to
        reader = threading.Thread(target=drain, args=(client, qos * PUBACK_BYTES * messages))
        reader.start()
        for _ in range(messages // BLOCK):
            client.sendall(block(qos).data)
        reader.join()


def drain(client, wanted):
    """Read what the client sends, until it has acknowledged all and says good-bye."""
    got = 0
    with contextlib.suppress(OSError):
        while piece := client.recv(1 << 18):
            got += len(piece)
            if piece.endswith(b"\xc0\x00"):
                client.sendall(PINGRESP)
    assert got >= wanted, f"{got} of {wanted} bytes of acknowledgements came"


def main():
    for qos in (0, 1):
        block(qos)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
