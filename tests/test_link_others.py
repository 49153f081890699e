"""What other threads do with a connection, and how sockets are asked without giving anything away."""

import socket
import threading

import numpy as np
import pytest

from daemon.transport.calls import confirm, receive
from daemon.transport.tcp import Tcp
from tests.mqtt_rig import opened, peers, quick
from tests.wires import alert, until, wiring

__all__ = ["opened", "peers", "quick"]  # fixtures


@pytest.fixture
def threads(monkeypatch, mosquitto, opened):
    """A connected transport, its wiring, and the threads that work on the connection that publishes."""
    w = wiring(mosquitto.url, "others")
    transport = opened(w, {"others/in": 1})
    until(lambda: transport.connected)
    found, link = [], transport._egress
    inner = link.work

    def work(client):
        found.append(threading.current_thread())
        inner(client)

    monkeypatch.setattr(link, "work", work)
    return w, link, found


@pytest.mark.broker
@pytest.mark.usefixtures("quick")
def test_an_output_leaves_in_the_thread_that_has_put_it(mosquitto, peers, threads):
    w, _, found = threads
    peer, put = peers(mosquitto.port, "others/out"), []

    def left_here():  # but when its own thread is just at work
        found.clear()
        put.append(b"%d" % len(put))
        w.outbox.put([alert("others/out", put[-1])])
        return threading.current_thread() in found

    until(left_here)
    until(lambda: peer.payloads == put and len(w.outbox) == 0)


@pytest.mark.broker
@pytest.mark.usefixtures("quick")
def test_while_its_own_thread_works_on_it_that_one_is_told(mosquitto, peers, threads):
    w, link, found = threads
    peer = peers(mosquitto.port, "others/out")
    with link._waiting.lock:
        w.outbox.put([alert("others/out", b"1")])
        assert threading.current_thread() not in found
    until(lambda: peer.payloads == [b"1"] and len(w.outbox) == 0)
    assert set(found) == {link._thread}


@pytest.mark.broker
@pytest.mark.usefixtures("quick")
def test_a_fault_in_another_thread_costs_the_connection_and_nothing_is_lost(
    mosquitto, peers, threads
):
    w, link, _ = threads
    peer, work = peers(mosquitto.port, "others/out"), link.work
    before = link.epoch

    failed, put = [], []

    def fails(client):
        if threading.current_thread() is threading.main_thread():
            failed.append(1)
            raise ZeroDivisionError("a fault")
        work(client)

    def fails_here():
        put.append(b"%d" % len(put))
        w.outbox.put([alert("others/out", put[-1])])
        return failed

    link.work = fails
    until(fails_here)
    until(lambda: link.epoch > before and len(w.outbox) == 0)
    until(lambda: list(dict.fromkeys(peer.payloads)) == put)


def test_receiving_reads_what_is_there_and_says_when_nothing_is():
    ours, other = socket.socketpair()
    memory = bytearray(10)
    at = np.frombuffer(memory, np.uint8).ctypes.data
    with ours, other:
        with pytest.raises(BlockingIOError):
            receive(ours.fileno(), at, 10)
        other.send(b"abc")
        assert receive(ours.fileno(), at + 2, 8) == 3
        assert bytes(memory[:6]) == b"\0\0abc\0"
        other.send(b"0123456789")
        assert receive(ours.fileno(), at, 4) == 4
        other.close()
        assert receive(ours.fileno(), at, 10) == 6
        assert receive(ours.fileno(), at, 10) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        receive(-1, at, 10)


def test_confirming_costs_nothing_where_it_is_not_known():
    ours, other = socket.socketpair()
    with ours, other:
        confirm(ours.fileno())
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        with client:
            tcp = Tcp(client.fileno())
            tcp.answer()
            tcp.close()
