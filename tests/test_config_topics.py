"""Topic filters and templates: against a real broker, a brute-force definition, and properties."""

import itertools
import re
import shutil
import socket
import subprocess
import threading
import time

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.topics import TopicFilter, TopicIndex, TopicTemplate, safe

LEVEL = st.sampled_from(["a", "b", "ab", "", "+", "{x}", "a{y}", "{z}b", "$s", "$"])
FILTERS = (
    st.tuples(st.lists(LEVEL, min_size=1, max_size=3), st.sampled_from(["", "#"]))
    .map(lambda p: "/".join([*p[0], p[1]] if p[1] else p[0]))
    .filter(lambda t: t and len(set(re.findall(r"\{.\}", t))) == len(re.findall(r"\{.\}", t)))
    .filter(lambda t: not re.match(r"\$[^/]*\{", t))
)
TOPICS = [
    "/".join(p)
    for n in (1, 2, 3, 4)
    for p in itertools.product(["a", "b", "ab", "", "$s", "aab"], repeat=n)
]


def by_mqtt_rules(text, topic):
    """What the MQTT standard says, as one regular expression."""
    if topic.startswith("$") and text[0] in "+#{":
        return False
    pattern = ""
    for i, level in enumerate(text.split("/")):
        if level == "#":
            return re.fullmatch(pattern + ("(/.*)?" if i else ".*"), topic, re.DOTALL) is not None
        inside = re.sub(r"\\\{.*?\\\}|\\\+", "[^/]*", re.escape(level))
        pattern += ("/" if i else "") + inside
    return re.fullmatch(pattern, topic) is not None


@given(FILTERS, st.sampled_from(TOPICS))
def test_match_follows_the_standard(text, topic):
    assert (TopicFilter.parse(text).match(topic) is not None) == by_mqtt_rules(text, topic)


@given(st.lists(FILTERS, max_size=12), st.sampled_from(TOPICS))
def test_one_of_many_matches_when_any_does(texts, topic):
    index = TopicIndex(map(TopicFilter.parse, texts))
    assert index.matches(topic) == any(by_mqtt_rules(text, topic) for text in texts)


@given(FILTERS, FILTERS)
def test_overlap_is_a_common_topic(a, b):
    # The alphabet of TOPICS has, for every pair of levels used above, a text that both match.
    common = any(by_mqtt_rules(a, t) and by_mqtt_rules(b, t) for t in TOPICS if t)
    one, other = TopicFilter.parse(a), TopicFilter.parse(b)
    assert one.overlaps(other) == other.overlaps(one)
    assert one.overlaps(other) or not common
    if "$" not in a + b:
        assert one.overlaps(other) == common


def test_labels_come_from_levels():
    wanted = TopicFilter.parse("plant/{site}/+/sensor-{id}.v1/#")
    assert wanted.subscription == "plant/+/+/+/#"
    assert wanted.labels == ("site", "id")
    assert wanted.match("plant/north/x/sensor-7.v1/t/u") == {"site": "north", "id": "7"}
    assert wanted.match("plant/north/x/sensor-7.v1") == {"site": "north", "id": "7"}
    assert wanted.match("plant/north/x/sensor-7.v2") is None
    assert wanted.match("plant/north/x") is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a topic must not be empty"),
        ("a/#/b", "# may only be the last level"),
        ("a/b+", "+ and # must be a level of their own: 'b+'"),
        ("a/{x}{y}", "one {name} per level, put a / between: '{x}{y}'"),
        ("a/{x}/{x}", "{x} stands twice"),
        ("a/{1}", "expected {name} with a name of letters, digits, _ and -: '{1}'"),
        ("a/{x", "expected {name} with a name of letters, digits, _ and -: '{x'"),
        ("a\x00b", "a topic must not hold control characters"),
        ("x" * 513, "a topic must not be longer than 512 bytes"),
        ("/" * 16, "a topic must not have more than 16 levels"),
        ("$share/g/a", "write the topic without $share/<group>/"),
        ("$dev-{id}/a", "no wildcard matches a first level that starts with $"),
    ],
)
def test_bad_filter_says_why(text, what):
    with pytest.raises(ValueError, match=f"^{re.escape(what)}$"):
        TopicFilter.parse(text)


@pytest.mark.parametrize("text", ["a/+", "#", "$SYS/x", "a/{x}-{y}", "a\nb"])
def test_bad_template_is_refused(text):
    with pytest.raises(ValueError):
        TopicTemplate.parse(text)


@given(st.text())
def test_a_value_stays_one_safe_level(value):
    text = safe(value)
    assert re.fullmatch(r"([A-Za-z0-9._:-]|%[0-9A-F]{2}|~|_)+", text) or len(text) == 64
    assert not set(text) & set("/+#\0\n$")
    assert 1 <= len(text.encode()) <= 64


NASTY = st.text(alphabet="a/+#%~$\0é😀2F0", max_size=4) | st.text(alphabet="a/%~", min_size=60)


@given(st.lists(st.tuples(NASTY, NASTY), min_size=2, max_size=2, unique=True))
def test_different_labels_give_different_topics(pairs):
    template = TopicTemplate.parse("x/a{p}a/{q}")
    one, other = (template.render({"p": p, "q": q}) for p, q in pairs)
    assert one != other


@given(NASTY, NASTY)
def test_a_rendered_topic_is_what_its_filter_matches(p, q):
    template = TopicTemplate.parse("x/a{p}a/{q}")
    topic = template.render({"p": p, "q": q})
    assert TopicFilter.parse("x/a{p}a/{q}").match(topic) == {"p": safe(p), "q": safe(q)}
    assert template.as_filter({"p": p}).match(topic) == {"q": safe(q)}


def test_values_that_are_hard():
    assert safe("b7") == "b7"
    assert safe("") == "~"
    assert safe("~") == "%7E"
    assert safe("..") == ".."
    assert safe("a/b+#") == "a%2Fb%2B%23"
    assert len(safe("x" * 60_000)) == 64
    assert safe("x" * 64) == "x" * 64
    assert safe("\ud800") == "%ED%A0%80"


@pytest.fixture
def broker(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([shutil.which("mosquitto"), "-c", str(config)])
    yield port
    process.terminate()
    process.wait()


@pytest.mark.broker
def test_a_real_broker_matches_as_we_do(broker):
    filters = ["a/{x}", "#", "a/#", "+/b", "{x}/{y}/#", "a//b", "/{x}", "s-1/{x}", "$x/#"]
    topics = ["a", "a/", "a/b", "a/b/c", "/b", "a//b", "s-1/b", "b", "$x/b", "$x", "x%2F/b"]
    got = {text: set() for text in filters}
    ready, done = threading.Event(), threading.Event()
    subscribed = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)

    def on_connect(*_):
        for number, text in enumerate(filters, 1):
            properties = mqtt.Properties(mqtt.PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = number
            options = mqtt.SubscribeOptions(qos=1)
            client.subscribe(
                TopicFilter.parse(text).subscription, options=options, properties=properties
            )

    def on_subscribe(*_):
        subscribed.append(1)
        if len(subscribed) == len(filters):
            ready.set()

    def on_message(_client, _data, message):
        if message.topic == "done":
            done.set()
            return
        for number in message.properties.SubscriptionIdentifier:
            got[filters[number - 1]].add(message.topic)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    deadline = time.monotonic() + 10
    while True:
        try:
            client.connect("127.0.0.1", broker)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    client.loop_start()
    assert ready.wait(60)
    for topic in [*topics, "done"]:
        client.publish(topic, b"1", qos=1)
    assert done.wait(60)
    client.disconnect()
    client.loop_stop()
    for text in filters:
        expected = {t for t in topics if TopicFilter.parse(text).match(t) is not None}
        assert got[text] == expected, text
