"""Outbox: what shall be published, kept until the broker has taken it."""

import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from daemon.ages import Ages, Expiry
from daemon.ledger import Count, Gauge, Ledger, Reason
from daemon.messages import DROP_ORDER, Kind, Outgoing

log = logging.getLogger(__name__)

BACKLOG: Final = 1000
"""With more waiting than that, alerts and answers overtake windows and samples."""
_URGENT: Final[tuple[Kind, ...]] = ("status", "alert", "state", "answer")
STRIKES_MAX: Final = 2
"""Connections that one output alone may cost before it is set aside."""


class Parcel(NamedTuple):
    """An output on its way, with the number that settles it."""

    token: int
    outgoing: Outgoing


class Outbox:
    """Bounded queue from the engine to the egress connection, in order of `put`.

    An output is *waiting* until `take`, then *in flight* until `settle` or `refuse`; `lost`
    brings those in flight back to the front.  When the bounds are exceeded, waiting outputs are
    given up in `DROP_ORDER`, oldest first, and counted; so are those that have waited too long,
    but for the newest of each retained topic: a state is true until another one is.
    """

    def __init__(
        self, messages_max: int, bytes_max: int, ledger: Ledger, expiry: Expiry | None = None
    ) -> None:
        """`expiry`: which have waited too long; None: however long they wait, they are kept."""
        self.messages_max = messages_max
        self.bytes_max = bytes_max
        self.on_put: Callable[[], None] = _nothing
        """Called after each `put`, by whoever puts; the transport sends what there is, or wakes up."""
        self.on_refused: Callable[[Outgoing, str, str], None] = _ignore
        """Told of each output that can never be published, why, and details."""
        self.on_dropped: Callable[[str, str, int], None] = _ignore
        """Told of outputs that were given up: kind, reason, how many."""
        self.left: deque[int] | None = None
        """Where tokens are told that need no keeping any more: published, refused, given up."""
        self._ledger, self._expiry = ledger, expiry
        self._expired = 0
        """What had a lower token had waited too long when that was last looked at."""
        self._lock = threading.Lock()
        self._waiting: dict[Kind, deque[Parcel]] = {kind: deque() for kind in DROP_ORDER}
        self._in_flight: OrderedDict[int, Outgoing] = OrderedDict()
        self._next_token = 1
        self._bytes = 0
        self._states_added = 0
        self._suspects: set[int] = set()
        self._alone = False
        self._strikes: dict[int, int] = {}
        ledger.watch(Gauge.OUTBOX_MESSAGES, self.__len__)
        ledger.watch(Gauge.OUTBOX_BYTES, lambda: self._bytes)
        ledger.watch(Gauge.OUTBOX_IN_FLIGHT, lambda: len(self._in_flight))

    def __len__(self) -> int:
        """Outputs that are not settled yet, waiting or in flight."""
        return sum(map(len, self._waiting.values())) + len(self._in_flight)

    def crowded(self, coming: int) -> bool:
        """More than half full with those that are coming: no more should be made, if it can wait."""
        return (len(self) + coming) * 2 > self.messages_max or self._bytes * 2 > self.bytes_max

    def put(self, outputs: Iterable[Outgoing]) -> None:
        """Queue outputs in order; never blocks, gives up what does not fit."""
        with self._lock:
            parcels = [Parcel(token, out) for token, out in enumerate(outputs, self._next_token)]
            self._next_token += len(parcels)
        self.release(parcels)

    def resume(self, parcels: Sequence[Parcel], made: Ages) -> None:
        """What an earlier run has left; `made`: when that was, in processing time."""
        if self._expiry is not None:
            self._expiry.resume(made)
        self.release(parcels)

    def release(self, parcels: Sequence[Parcel]) -> None:
        """The same for outputs that have their tokens already; never with `put`."""
        produced: dict[Kind, int] = {}
        with self._lock:
            if self._expiry is not None and parcels:
                self._expiry.made(parcels[-1].token + 1)
            for parcel in parcels:
                outgoing = parcel.outgoing
                self._waiting[outgoing.kind].append(parcel)
                self._bytes += _size(outgoing)
                self._states_added += outgoing.kind == "state"
                produced[outgoing.kind] = produced.get(outgoing.kind, 0) + 1
            for kind, n in produced.items():
                self._ledger.count(Count.OUTPUTS_PRODUCED, n, kind=kind)
            dropped = self._give_up()
        self._tell_dropped(dropped)
        if produced:
            self.on_put()

    def take(self, most: int, in_flight_max: int) -> list[Parcel]:
        """The next outputs in order, at most `most` and so that `in_flight_max` is kept.

        In order of `put`; behind a backlog, what somebody waits for comes before the rest.
        While one of several outputs is suspected of making the broker hang up, they come one
        at a time.
        """
        taken: list[Parcel] = []
        with self._lock:
            dropped = self._give_up() if self._expiry is not None else {}
            if self._alone:
                in_flight_max = 1
            behind = sum(map(len, self._waiting.values())) > BACKLOG
            while len(taken) < most and len(self._in_flight) < in_flight_max:
                heads = [q for q in self._waiting.values() if q]
                if behind:
                    heads = [q for kind in _URGENT if (q := self._waiting[kind])] or heads
                if not heads:
                    break
                queue = min(heads, key=_head_token)
                room = min(most - len(taken), in_flight_max - len(self._in_flight))
                for _ in range(min(room, len(queue)) if len(heads) == 1 else 1):
                    parcel = queue.popleft()
                    self._in_flight[parcel.token] = parcel.outgoing
                    taken.append(parcel)
        self._tell_dropped(dropped)
        return taken

    def settle(self, *tokens: int) -> None:
        """The broker has them. An unknown or settled token is ignored."""
        published: Counter[Kind] = Counter()
        with self._lock:
            for token in tokens:
                outgoing = self._leave(token)
                if outgoing is not None:
                    published[outgoing.kind] += 1
            for kind, n in published.items():
                self._ledger.count(Count.OUTPUTS_PUBLISHED, n, kind=kind)

    def refuse(self, token: int, reason: Reason, facts: str = "") -> None:
        """It can never be published: set it aside, count and log it."""
        with self._lock:
            outgoing = self._leave(token)
            if outgoing is not None:
                self._ledger.count(Count.OUTPUTS_DISCARDED, kind=outgoing.kind, reason=reason)
        if outgoing is not None:
            self._refused(outgoing, reason, facts)

    def lost(self, *, blame: bool) -> None:
        """The connection is gone: bring what was in flight back to the front, in order.

        `blame`: the broker hung up by itself, so what was in flight may be the cause.  When the
        same outputs are in flight at a second such loss, they go one at a time from then on, and
        the one that loses the connection alone `STRIKES_MAX` times is set aside.
        """
        poison: list[Outgoing] = []
        with self._lock:
            tokens = list(self._in_flight)
            if blame and tokens:
                poison = self._judge(tokens)
            for token in reversed(list(self._in_flight)):
                outgoing = self._in_flight[token]
                self._waiting[outgoing.kind].appendleft(Parcel(token, outgoing))
            self._in_flight.clear()
        for outgoing in poison:
            self._refused(outgoing, Reason.POISON, "the broker hung up on it")

    def _refused(self, outgoing: Outgoing, reason: Reason, facts: str) -> None:
        _log_refused(outgoing, reason, facts)
        self.on_refused(outgoing, reason, facts)
        self.on_dropped(outgoing.kind, reason, 1)

    def _judge(self, tokens: list[int]) -> list[Outgoing]:
        """Note who was in flight at this loss; return those that are found guilty."""
        if len(tokens) == 1:
            [token] = tokens
            self._strikes[token] = self._strikes.get(token, 0) + 1
            if self._strikes[token] >= STRIKES_MAX:
                outgoing = self._leave(token)
                assert outgoing is not None
                self._ledger.count(
                    Count.OUTPUTS_DISCARDED, kind=outgoing.kind, reason=Reason.POISON
                )
                return [outgoing]
        elif self._suspects.intersection(tokens):
            self._alone = True
        self._suspects.update(tokens)
        return []

    def _leave(self, token: int) -> Outgoing | None:
        outgoing = self._in_flight.pop(token, None)
        if outgoing is not None:
            self._tell_left(token)
            self._bytes -= _size(outgoing)
            self._strikes.pop(token, None)
            self._suspects.discard(token)
            if not self._suspects:
                self._alone = False
        return outgoing

    def _give_up(self) -> dict[tuple[Kind, Reason], int]:
        """Discard and count what has waited too long, and what there is no room for."""
        dropped: dict[tuple[Kind, Reason], int] = {}
        old = self._expiry.old if self._expiry is not None else 0
        if old > self._expired:
            self._expired = old
            self._expire(old, dropped)
        if self._is_full():
            self._make_room(dropped)
        for (kind, reason), n in dropped.items():
            self._ledger.count(Count.OUTPUTS_DISCARDED, n, kind=kind, reason=reason)
        return dropped

    def _tell_dropped(self, dropped: dict[tuple[Kind, Reason], int]) -> None:
        if not dropped:
            return
        log.error(
            "Outputs are discarded, the broker has not taken them",
            extra={"facts": {f"{k}_{r}": n for (k, r), n in dropped.items()}},
        )
        for (kind, reason), n in dropped.items():
            if reason is not Reason.SUPERSEDED:  # a newer state of the same alert is there
                self.on_dropped(kind, reason, n)

    def _expire(self, old: int, dropped: dict[tuple[Kind, Reason], int]) -> None:
        for kind, waiting in self._waiting.items():
            if not waiting or waiting[0].token >= old:
                continue
            newest = {p.outgoing.topic: p.token for p in waiting if p.outgoing.retain}
            spared: list[Parcel] = []
            while waiting and waiting[0].token < old:
                parcel = waiting.popleft()
                if newest.get(parcel.outgoing.topic) == parcel.token:
                    spared.append(parcel)
                    continue
                self._forget(parcel)
                reason = Reason.SUPERSEDED if kind == "state" else Reason.OUTBOX_OLD
                dropped[kind, reason] = dropped.get((kind, reason), 0) + 1
            waiting.extendleft(reversed(spared))

    def _make_room(self, dropped: dict[tuple[Kind, Reason], int]) -> None:
        for kind in DROP_ORDER:
            if kind == "state" and self._is_full():
                n = self._compact_states()
                if n:
                    key: tuple[Kind, Reason] = ("state", Reason.SUPERSEDED)
                    dropped[key] = dropped.get(key, 0) + n
            n = 0
            while self._is_full() and self._waiting[kind]:
                parcel = self._waiting[kind].popleft()
                self._forget(parcel)
                n += 1
            if n:
                dropped[kind, Reason.OUTBOX_FULL] = n

    def _compact_states(self) -> int:
        """Keep only the newest waiting state of each topic; returns how many went."""
        waiting = self._waiting["state"]
        # Only after as many new ones as half of those kept: one pass per put would be quadratic.
        if self._states_added * 2 < len(waiting):
            return 0
        self._states_added = 0
        newest = {parcel.outgoing.topic: parcel.token for parcel in waiting}
        kept = deque(p for p in waiting if newest[p.outgoing.topic] == p.token)
        for parcel in waiting:
            if newest[parcel.outgoing.topic] != parcel.token:
                self._forget(parcel)
        self._waiting["state"] = kept
        return len(waiting) - len(kept)

    def _tell_left(self, token: int) -> None:
        if self.left is not None:
            self.left.append(token)

    def _forget(self, parcel: Parcel) -> None:
        self._tell_left(parcel.token)
        self._bytes -= _size(parcel.outgoing)
        self._strikes.pop(parcel.token, None)
        self._suspects.discard(parcel.token)
        if not self._suspects:
            self._alone = False

    def _is_full(self) -> bool:
        return len(self) > self.messages_max or self._bytes > self.bytes_max


def _ignore(*_: object) -> None:
    return None


def _log_refused(outgoing: Outgoing, reason: Reason, facts: str) -> None:
    log.error(
        "Output is set aside, it cannot be published",
        extra={
            "facts": {
                "reason": str(reason),
                "topic": outgoing.topic,
                "kind": outgoing.kind,
                "bytes": len(outgoing.payload),
                "detail": facts,
            }
        },
    )


def _head_token(queue: deque[Parcel]) -> int:
    return queue[0].token


def _size(outgoing: Outgoing) -> int:
    return len(outgoing.payload) + len(outgoing.topic)


def _nothing() -> None:
    return None
