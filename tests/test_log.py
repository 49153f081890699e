"""Log lines: foreign bytes stay harmless, repeated lines are few, secrets never show."""

import io
import json
import logging

import pytest

from daemon import log as logs


@pytest.fixture
def lines():
    """(logger, function that returns what was written so far) in the wanted style."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()

    def use(style):
        limit = logs.configure(style, "info", stream)
        return logging.getLogger("test"), stream.getvalue, limit

    yield use
    root.handlers[:] = before
    root.setLevel(level)


def said(logger, sentence, created, **facts):
    record = logger.makeRecord("test", logging.WARNING, "f", 1, sentence, (), None)
    record.created, record.facts = created, facts
    logger.handle(record)


def test_hostile_text_cannot_forge_a_line_or_move_the_cursor(lines):
    hostile = 'a\nERROR forged\r\x1b[2J\x9b31m\u2028\ud800\u202e\u0627\u0301"'
    for style in ("console", "json"):
        logger, text, _ = lines(style)
        before = len(text())
        logger.info("Sentence", extra={"facts": {"topic": hostile, "payload": b"\xff\x00" * 500}})
        written = text()[before:]
        assert written.count("\n") == 1
        assert all(c.isascii() and c.isprintable() for c in written.rstrip("\n"))
        assert len(written.encode()) < 2000


def test_json_lines_are_json_with_the_facts(lines):
    logger, text, _ = lines("json")
    logger.error("It broke", extra={"facts": {"reason": "bad_json", "n": 3, "list": ["x\n"]}})
    line = json.loads(text())
    assert line["message"] == "It broke"
    assert (line["level"], line["reason"], line["n"], line["list"]) == (
        "error",
        "bad_json",
        3,
        ["x\\n"],
    )


def test_a_repeated_warning_is_said_once_in_ten_seconds_with_the_number_left_out(lines):
    logger, text, limit = lines("json")
    for i in range(1000):
        said(logger, "Rejected", 1000 + i / 100, reason="bad_json")
    said(logger, "Rejected", 1001.0, reason="no_time")
    said(logger, "Rejected", 1010.5, reason="bad_json")
    told = [json.loads(line) for line in text().splitlines()]
    assert [(t["reason"], t.get("suppressed")) for t in told] == [
        ("bad_json", None),
        ("no_time", None),
        ("bad_json", 999),
    ]
    assert limit.suppressed == 999


def test_what_is_remembered_for_the_limit_is_bounded(lines):
    logger, _, limit = lines("json")
    for i in range(5000):
        said(logger, "Rejected", 1.0, reason=f"r{i}")
    assert len(limit._said) <= logs.KEYS_MAX


def test_secrets_are_masked_wherever_they_stand(lines):
    logger, text, _ = lines("json")
    logger.info(
        "Sentence", extra={"facts": {"password": "canary-1", "tls": {"key_secret": "canary-2"}}}
    )
    assert "canary" not in text()


def test_configure_again_replaces_the_handler(lines):
    logger, text, _ = lines("json")
    lines("json")
    logger.info("Once")
    assert text().count("Once") == 1


def test_an_answer_to_a_command_is_never_left_out(lines):
    logger, text, limit = lines("json")
    for _ in range(3):
        logger.error("Reload refused", extra={"facts": {"problems": ["x"]}, "answer": True})
    assert text().count("Reload refused") == 3
    assert limit.suppressed == 0
