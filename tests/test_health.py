"""HTTP: what /healthz, /readyz and /metrics say, and that no client can hold the server up."""

import json
import socket
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon import health
from daemon.clock import ManualClock
from daemon.health import REQUESTS_MAX, Health, HealthServer
from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.metrics import HELP, registry
from tests.wires import until


@pytest.fixture
def daemon():
    state = {"alive": True, "refused": {}}
    return SimpleNamespace(
        clock=ManualClock(),
        engine=SimpleNamespace(turned_ns=0),
        transport=SimpleNamespace(connected=True, status=lambda: dict(state), state=state),
        warm=True,
        recalling=False,
        degraded=[],
    )


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def server(daemon, ledger):
    shown = registry(ledger)
    made = HealthServer("127.0.0.1:0", Health(daemon), lambda: shown)
    made.start()
    yield made
    made.stop()


def get(server, path):
    try:
        with urllib.request.urlopen(f"http://{server.address}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def reasons(server, path):
    code, body = get(server, path)
    return code, json.loads(body)["reasons"]


def test_all_is_well(server):
    assert reasons(server, "/healthz") == (200, [])
    assert reasons(server, "/readyz") == (200, [])


def test_what_ails_beside_the_work_is_told_and_stops_no_traffic(server, daemon):
    daemon.degraded.append("the recording has ended: no space")
    code, body = get(server, "/readyz")
    told = json.loads(body)
    assert (code, told["status"], told["degraded"]) == (200, "degraded", daemon.degraded)
    assert get(server, "/healthz")[0] == 200


def test_samples_that_wait_for_states_of_before_make_us_unready(server, daemon):
    daemon.recalling = True
    code, [why] = reasons(server, "/readyz")
    assert (code, "recalled" in why) == (503, True)
    assert reasons(server, "/healthz") == (200, [])


def test_a_broker_that_is_away_makes_us_unready_but_not_dead(server, daemon):
    daemon.transport.connected = False
    assert reasons(server, "/healthz") == (200, [])
    code, why = reasons(server, "/readyz")
    assert (code, len(why)) == (503, 1)


def test_an_engine_that_stands_still_is_dead(server, daemon):
    daemon.clock.advance(11_000_000_000)
    code, why = reasons(server, "/healthz")
    assert code == 503
    assert "11 s" in why[0]
    daemon.engine.turned_ns = daemon.clock.monotonic_ns()
    assert reasons(server, "/healthz") == (200, [])


def test_compiling_kernels_is_alive_but_not_ready(server, daemon):
    daemon.warm = False
    daemon.clock.advance(60_000_000_000)
    assert reasons(server, "/healthz") == (200, [])
    assert reasons(server, "/readyz")[0] == 503


def test_a_dead_transport_thread_and_a_refused_subscription_show(server, daemon):
    daemon.transport.state["refused"] = {"a/#": "Not authorized"}
    assert "a/#" in reasons(server, "/readyz")[1][0]
    daemon.transport.state["alive"] = False
    assert reasons(server, "/healthz")[0] == 503


def test_metrics_hold_every_number_of_the_ledger(server, ledger):
    ledger.count(Count.MESSAGES_REJECTED, 3, reason=Reason.BAD_JSON, source="plant")
    code, body = get(server, "/metrics")
    families = {f.name: f for f in text_string_to_metric_families(body.decode())}
    assert code == 200
    [sample] = families["sensorweir_messages_rejected"].samples
    assert sample.labels == {"reason": "bad_json", "source": "plant"}
    assert (sample.name, sample.value) == ("sensorweir_messages_rejected_total", 3)
    missing = {name for name in HELP if f"sensorweir_{name}" not in families}
    assert not missing
    assert families["sensorweir_messages_received"].samples[0].value == 0


def test_every_counter_has_a_help_text():
    assert set(HELP) == {*Count, *Gauge}


def test_unknown_paths_and_methods_are_refused(server):
    assert get(server, "/etc/passwd")[0] == 404
    request = urllib.request.Request(f"http://{server.address}/metrics", method="POST", data=b"x")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value as error:
        assert error.code == 501


def test_clients_that_say_nothing_do_not_keep_others_out_for_ever(server, monkeypatch):
    monkeypatch.setattr(health._Handler, "timeout", 0.3)
    host, port = server.address.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(REQUESTS_MAX + 4)]
    try:

        def answered():
            try:
                return get(server, "/healthz")[0] == 200
            except OSError:
                return False

        until(answered, 5, "an answer")
    finally:
        for one in idle:
            one.close()
