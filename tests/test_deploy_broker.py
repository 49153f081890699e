"""The broker that deploy/ sets up: who gets in, who may do what, and what outlives its end."""

import ssl
import stat

import pytest

from tests.deployed import DEPLOY, GATEWAY, Visitor, deployed, make_tls, settings
from tests.mosquitto import Mosquitto
from tests.wires import until

pytestmark = pytest.mark.broker
DENIED, NOBODY = 0x87, 0x10
B7, B8 = (f"plant/north/boiler/{device}/telemetry" for device in ("b7", "b8"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    made = deployed(tmp_path_factory.mktemp("deployed")).start()
    yield made
    made.stop()


@pytest.fixture
def visit(broker, closing):
    return lambda who, *filters: closing(Visitor(broker, who, filters=filters))


def test_nobody_gets_in_without_a_certificate_of_ours(broker, tmp_path):
    with pytest.raises(OSError):
        Visitor(broker)
    make_tls(tmp_path, "ca")
    assert make_tls(tmp_path, "client", "operator").returncode == 0
    with pytest.raises(OSError):
        Visitor(broker, "operator", tls=tmp_path)


def test_a_device_writes_as_itself_alone(visit):
    ear, b7 = visit(f"{GATEWAY}-in", "plant/#"), visit("b7", "plant/#", "alerts/#")
    assert b7.publish(B7) == 0
    assert b7.publish(B8) == DENIED
    assert b7.publish("alerts/north/b7/overheat") == DENIED
    assert b7.publish(f"sensorweir/{GATEWAY}/command") == DENIED
    assert b7.publish("plant/north/b7/telemetry") == DENIED, "not at another level"
    assert b7.publish(B7, b"2") == 0
    until(lambda: len(ear.got) == 2)
    assert ear.got == [(B7, b"1"), (B7, b"2")]
    assert b7.got == []


def test_the_ear_writes_nothing(visit):
    ear = visit(f"{GATEWAY}-in", f"sensorweir/{GATEWAY}/command", "alerts/#")
    own = f"plant/north/boiler/{GATEWAY}-in/telemetry"
    for topic in (B7, own, "alerts/x", "state/x", f"sensorweir/{GATEWAY}/status"):
        assert ear.publish(topic) == DENIED, topic
    assert visit("operator").publish(f"sensorweir/{GATEWAY}/command") == 0
    assert visit(f"{GATEWAY}-out").publish("alerts/x") in {0, NOBODY}
    until(lambda: ear.got)
    assert [topic for topic, _ in ear.got] == [f"sensorweir/{GATEWAY}/command"]


def test_the_mouth_hears_nothing_but_its_own_states(visit):
    mouth = visit(f"{GATEWAY}-out", "plant/#", "alerts/#", "sensorweir/#", "state/#")
    operator = visit("operator", "alerts/#")
    own = f"plant/north/boiler/{GATEWAY}-out/telemetry"
    for topic in (B7, own, f"sensorweir/{GATEWAY}/command"):
        assert mouth.publish(topic) == DENIED, topic
    assert visit("b7").publish(B7) in {0, NOBODY}
    for topic in ("alerts/x", "agg/x", f"sensorweir/{GATEWAY}/status", "state/alerts/x"):
        assert mouth.publish(topic) in {0, NOBODY}, topic
    until(lambda: mouth.got and operator.got)
    assert mouth.got == [("state/alerts/x", b"1")]
    assert operator.got == [("alerts/x", b"1")]


def test_people_ask_and_cannot_forge(visit):
    operator = visit("operator")
    for topic in ("alerts/x", "state/x", f"sensorweir/{GATEWAY}/status", B7):
        assert operator.publish(topic) == DENIED, topic


def test_what_was_confirmed_outlives_the_broker(tmp_path, closing):
    """kill -9 of the broker, while the daemon is away: the session and all messages are there."""
    broker, session = deployed(tmp_path).start(), {"client_id": "away"}
    try:
        Visitor(broker, f"{GATEWAY}-in", **session, filters=["plant/#"]).close()
        device = Visitor(broker, "b7")
        sent = [f"message {i:04}".encode() for i in range(50)]
        assert {device.publish(B7, payload) for payload in sent} == {0}
        # Mosquitto 2.0 confirms first and writes then.
        until(lambda: sent[-1] in (tmp_path / "mosquitto.db").read_bytes())
        broker.kill()
        device.close()
        broker.start()
        back = closing(Visitor(broker, f"{GATEWAY}-in", **session))
        until(lambda: len(back.got) == len(sent))
        assert [payload for _, payload in back.got] == sent
    finally:
        broker.stop()


def test_the_durable_one_is_the_same_but_for_the_store(tmp_path):
    """Debian has no Mosquitto 2.1: what is not its store is run, the rest is read."""
    durable = (DEPLOY / "mosquitto-durable.conf").read_text()
    for line in ("plugin_opt_flush_period 0", "plugin_opt_sync full"):
        assert line in durable.splitlines()

    def without(text):
        return "\n".join(x for x in text.splitlines() if not x.startswith("plugin"))

    broker = deployed(tmp_path, "mosquitto-durable.conf", without).start()
    broker.stop()
    store = ("plugin", "persistence ", "autosave", "#")
    here, there = (
        {x for x in settings(name, Mosquitto(tmp_path)).splitlines() if not x.startswith(store)}
        for name in ("mosquitto-debian.conf", "mosquitto-durable.conf")
    )
    assert {x for x in here ^ there if "listener" not in x} == set(), "one was changed alone"


# --- make-tls.sh -----------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_private_and_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "tls"
    for words in (["ca"], ["server", "localhost", "192.0.2.1", "::1"], ["client", "b7"]):
        assert make_tls(folder, *words).returncode == 0
    assert {p.name: mode(p) for p in folder.iterdir()} == {
        f"{name}.{end}": 0o600 if end == "key" else 0o644
        for name in ("ca", "server", "b7")
        for end in ("key", "crt")
    }
    assert mode(folder) == 0o700
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for words in (["ca"], ["server", "localhost"], ["client", "b7"]):
        again = make_tls(folder, *words)
        assert again.returncode == 1
        assert "is there already" in again.stderr
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "b7.crt", folder / "b7.key")


@pytest.mark.parametrize("name", ["a/b", "+", "#", "", "x" * 65, "-b", "a b", "ca", "server"])
def test_a_name_that_would_be_more_than_one_topic_level_is_refused(tmp_path, name):
    make_tls(tmp_path, "ca")
    assert make_tls(tmp_path, "client", name).returncode == 2
    assert {p.name for p in tmp_path.iterdir()} == {"ca.key", "ca.crt"}


def test_it_teaches(tmp_path):
    assert "usage:" in make_tls("--help").stdout
    assert make_tls(tmp_path, "nonsense").returncode == 2
    first = make_tls(tmp_path, "client", "b7")
    assert first.returncode == 1
    assert "begin with: make-tls.sh" in first.stderr
