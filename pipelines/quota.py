"""Quota: how much the devices of one source may send, and how many new series it may get.

Token buckets that run by the times at which messages arrived and read no clock, so a replay
refuses the same ones.  A bucket is one number, the time by which its last message was due (the
generic cell rate algorithm, ITU-T I.371): each message moves it on by 1 / rate, and one that
would move it further ahead of its arrival than the burst is refused.
"""

from typing import Final

from config.limits import Limits
from config.terms import SECOND
from pipelines.series import NEVER, Labels, make_labels

FAR_NS: Final = 1 << 62
SETTLE_NS: Final = 600 * SECOND
"""How long a source is given to meet the series it has, without a bound on how fast: a fleet of
10,000 would else lose what it sends in the first minute and a half."""


class Device:
    """What is remembered of one device: its labels, its rows by channel, its bucket."""

    __slots__ = ("due_ns", "labels", "rows")

    def __init__(self, labels: dict[str, str], due_ns: int) -> None:
        self.labels = labels
        self.rows: dict[str, int] = {}
        self.due_ns = due_ns
        """When its last message was due; its bucket is full `each_ns` later."""


class Quota:
    """The buckets of one source."""

    STATE = ("began_ns", "new_full_ns", "owed")
    REMADE = ("each_ns", "slack_ns", "_new_each_ns", "_new_slack_ns", "_devices", "_now_ns")

    def __init__(self, limits: Limits) -> None:
        self.each_ns = SECOND // limits.device_messages_per_s_max
        """What one message costs."""
        self.slack_ns = self.each_ns * (limits.device_messages_burst_max - 1)
        """How far ahead of a message's arrival its device's bucket may be."""
        self._new_each_ns = SECOND // limits.series_new_per_s_max
        self._new_slack_ns = self._new_each_ns * (limits.series_new_burst_max - 1)
        self.began_ns = NEVER
        """When the first series came."""
        self.new_full_ns = NEVER
        """When the bucket of new series is full again."""
        self._devices: dict[Labels, Device] = {}
        self._now_ns = NEVER

    @property
    def owed(self) -> dict[Labels, int]:
        """The buckets that are not full: all that has to be kept of them."""
        since_ns = self._now_ns - self.each_ns
        return {k: d.due_ns for k, d in self._devices.items() if d.due_ns > since_ns}

    @owed.setter
    def owed(self, due_ns: dict[Labels, int]) -> None:
        self._devices = {labels: Device(dict(labels), ns) for labels, ns in due_ns.items()}

    def __len__(self) -> int:
        return len(self._devices)

    def device(self, labels: dict[str, str]) -> Device:
        """The device with these labels, the same one for all of its topics."""
        key = make_labels(labels)
        device = self._devices.get(key)
        if device is None:
            device = self._devices[key] = Device(labels, NEVER)
        return device

    def at(self, now_ns: int) -> None:
        """Messages have been taken up to this time of arrival."""
        self._now_ns = now_ns

    def forget(self, keep_max: int) -> None:
        """Keep only buckets that are not full: the others are as good as new ones.

        Of more than `keep_max` those that are emptiest; so many devices at once are no fleet.
        """
        owed = sorted(self.owed.items(), key=lambda bucket: bucket[1])
        self.owed = dict(owed[-keep_max:])

    def new_series(self, now_ns: int) -> bool:
        """Whether the source may have one more series now; what may is taken from its bucket."""
        if self.began_ns == NEVER:
            self.began_ns = now_ns
        if now_ns - self.began_ns < SETTLE_NS:
            return True
        full_ns = max(self.new_full_ns, now_ns)
        if full_ns - now_ns > self._new_slack_ns:
            return False
        self.new_full_ns = full_ns + self._new_each_ns
        return True
