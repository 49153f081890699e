"""Quota: how much the devices of one source may send, and how many new series it may get.

Token buckets that run by the times at which messages arrived and read no clock, so a replay
refuses the same ones.  A bucket is one number, the time by which its last message was due (the
generic cell rate algorithm, ITU-T I.371): each message moves it on by 1 / rate, and one that
would move it further ahead of its arrival than the burst is refused.
"""

from array import array
from typing import Final

import numpy as np

from config.limits import Limits
from config.terms import SECOND
from pipelines.batch import I4, I8, U1
from pipelines.hops import Hops
from pipelines.jit import settled
from pipelines.series import NEVER, Index, Labels, make_labels

FAR_NS: Final = 1 << 62
SETTLE_NS: Final = 600 * SECOND
"""How long a source is given to meet the series it has, without a bound on how fast: a fleet of
10,000 would else lose what it sends in the first minute and a half."""


@settled
def admit(
    bucket: I4, arrival_ns: I8, full_ns: int, each_ns: int, slack_ns: int, due_ns: I8, refused: U1
) -> None:
    """Mark those messages that their buckets refuse, and fill these with the others.

    bucket, arrival_ns, refused (n,): of each message, in order of arrival; due_ns (B,): of each
    bucket. Buckets that are full at full_ns are full for all of them. Equivalent to
    `Quota.refuses`, message by message.
    """
    for i in range(bucket.size):
        b, now_ns = bucket[i], arrival_ns[i]
        due = now_ns
        if due_ns[b] > full_ns:
            due = max(due_ns[b] + each_ns, now_ns)
            if due - now_ns > slack_ns:
                refused[i] = 1
                continue
        due_ns[b] = due


class Quota:
    """The buckets of one source."""

    STATE = ("began_ns", "new_full_ns", "owed", "hops")
    REMADE = (
        "each_ns",
        "slack_ns",
        "due_ns",
        "_new_each_ns",
        "_new_slack_ns",
        "_devices",
        "_now_ns",
    )

    def __init__(self, limits: Limits) -> None:
        self.each_ns = SECOND // limits.device_messages_per_s_max
        """What one message costs."""
        self.slack_ns = self.each_ns * (limits.device_messages_burst_max - 1)
        """How far ahead of a message's arrival its device's bucket may be."""
        self._new_each_ns = SECOND // limits.series_new_per_s_max
        self._new_slack_ns = self._new_each_ns * (limits.series_new_burst_max - 1)
        self.began_ns = NEVER
        """When the first series came."""
        self.hops = Hops()
        """How often what devices send was derived from events before."""
        self.new_full_ns = NEVER
        """When the bucket of new series is full again."""
        self._devices = Index()
        """Labels of the devices; their numbers are the places of their buckets."""
        self.due_ns = array("q")
        """By bucket: when its last message was due; it is full `each_ns` later. An array, so that
        a kernel sees the same numbers."""
        self._now_ns = NEVER

    @property
    def owed(self) -> dict[Labels, int]:
        """The buckets that are not full: all that has to be kept of them."""
        since_ns = self._now_ns - self.each_ns
        owing = [device for device, due_ns in enumerate(self.due_ns) if due_ns > since_ns]
        return {self.labels(device): self.due_ns[device] for device in owing}

    @owed.setter
    def owed(self, due_ns: dict[Labels, int]) -> None:
        self._devices = Index()
        for labels in due_ns:
            self._devices.add(labels)
        self.due_ns = array("q", due_ns.values())

    def __len__(self) -> int:
        return len(self._devices)

    def device(self, labels: dict[str, str]) -> int:
        """Number of the device with these labels, the same one for all of its topics."""
        number = self._devices.add(make_labels(labels))
        if number == len(self.due_ns):
            self.due_ns.append(NEVER)
        return number

    def labels(self, device: int) -> Labels:
        """The labels of a device."""
        return self._devices[device]

    def refuses(self, device: int, now_ns: int, full_ns: int) -> bool:
        """Whether a message of the device is too much now; else it fills the device's bucket."""
        due_ns = now_ns
        before_ns = self.due_ns[device]
        if before_ns > full_ns:
            due_ns = max(before_ns + self.each_ns, now_ns)
            if due_ns - now_ns > self.slack_ns:
                return True
        self.due_ns[device] = due_ns
        return False

    def refused(self, bucket: I4, arrival_ns: I8, full_ns: int) -> U1:
        """The same for many messages at once: 1 for those that are too much."""
        found = np.zeros(bucket.size, np.uint8)
        due_ns = np.frombuffer(self.due_ns, np.int64)
        admit(bucket, arrival_ns, full_ns, self.each_ns, self.slack_ns, due_ns, found)
        return found

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
