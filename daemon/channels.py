"""Channels: the rows of each device by channel, where devices with the same channels share a dict."""

from array import array
from typing import Final
from weakref import WeakValueDictionary


class Places(dict[str, int]):
    """Channels of a device in the order in which they were met, and their places in it."""

    __slots__ = ("__weakref__",)


_NONE: Final = Places()


class Channels:
    """Rows of the channels of some devices, which have numbers from 0 on."""

    def __init__(self) -> None:
        self.places: list[Places] = []
        """By device."""
        self.first = array("I")
        """By device: where its rows begin in `rows`, each at its place."""
        self.rows = array("i")
        self._known: WeakValueDictionary[tuple[str, ...], Places] = WeakValueDictionary()

    def make_room(self, devices: int) -> None:
        """There are so many devices now; new ones have no channels."""
        for _ in range(len(self.places), devices):
            self.places.append(_NONE)
            self.first.append(0)

    def of(self, device: int) -> dict[str, int]:
        """Rows of a device by channel."""
        first = self.first[device]
        return {channel: self.rows[first + at] for channel, at in self.places[device].items()}

    def add(self, device: int, channel: str, row: int) -> None:
        """One more channel of a device, and its row."""
        before, first = self.places[device], self.first[device]
        n = len(before)
        if n & (n - 1) == 0:  # there is room for 1, 2, 4, 8 ..
            self.first[device] = len(self.rows)
            self.rows.extend(self.rows[first : first + n])
            self.rows.extend([row] * max(1, n))
            first = self.first[device]
        self.rows[first + n] = row
        names = (*before, channel)
        places = self._known.get(names)
        if places is None:
            places = self._known[names] = Places({**before, channel: n})
        self.places[device] = places
