"""The ledger: equations that notice a loss, labels that stay few, writers that do not disturb."""

import threading

import pytest

from daemon.ledger import EQUATIONS, LABELS, Count, Gauge, Ledger, Reason


def test_an_empty_ledger_balances():
    assert Ledger().balance() == []


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.name)
def test_each_equation_notices_one_that_is_missing(equation):
    ledger = Ledger()
    ledger.count(equation.sources[0], 5)
    [broken] = ledger.balance()
    assert equation.name in broken
    assert "(+5)" in broken
    for fate in equation.fates[:4]:
        if isinstance(fate, Count):
            ledger.count(fate)
        else:
            ledger.gauge(fate, 1)
    left = 5 - len(equation.fates[:4])
    ledger.count(equation.fates[0], left)
    assert ledger.balance() == []
    ledger.count(equation.fates[1])
    assert "(-1)" in ledger.balance()[0]


def test_a_number_read_from_its_owner_counts_like_any_other():
    ledger = Ledger()
    waiting = [1, 2, 3]
    ledger.watch(Gauge.INBOX_MESSAGES, lambda: len(waiting))
    ledger.count(Count.MESSAGES_RECEIVED, 3)
    assert ledger.balance() == []
    waiting.pop()
    assert ledger.balance() != []


def test_labels_add_up_and_stay_apart():
    ledger = Ledger()
    ledger.count(Count.MESSAGES_REJECTED, 2, reason=Reason.BAD_JSON, source="a")
    ledger.count(Count.MESSAGES_REJECTED, 3, reason=Reason.BAD_JSON)
    assert ledger.value(Count.MESSAGES_REJECTED, reason="bad_json", source="a") == 2
    assert ledger.value(Count.MESSAGES_REJECTED, reason="bad_json") == 3
    assert ledger.total(Count.MESSAGES_REJECTED) == 5
    assert ledger.as_dict() == {
        "messages_rejected{reason=bad_json}": 3,
        "messages_rejected{reason=bad_json,source=a}": 2,
    }


def test_a_label_that_is_not_declared_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match="device"):
        Ledger().count(Count.MESSAGES_REJECTED, device="b7")
    allowed = {"reason", "source", "kind", "connection"}
    assert {label for labels in LABELS.values() for label in labels} <= allowed


def test_no_count_is_lost_between_threads():
    ledger = Ledger()

    def work():
        for _ in range(5000):
            ledger.count(Count.CONNECTIONS, connection="in")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.total(Count.CONNECTIONS) == 20_000
