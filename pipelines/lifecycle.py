"""Life cycle: what becomes of an alert once its condition is known, as tables.

After OPC UA Part 9 (AlarmConditionType, ShelvedStateMachineType) and ISA-18.2: one table for the
condition and its acknowledgement, one for the shelf.  What is quiet (shelved, or inhibited by
another alert) goes on, but is not told until it is no longer quiet.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Alarm(StrEnum):
    """Whether the condition holds, and whether somebody has taken note."""

    NORMAL = "normal"
    UNACKED = "unacknowledged"
    ACKED = "acknowledged"


class Shelf(StrEnum):
    """Whether somebody has asked for silence: for a time, or until the alert ends."""

    FREE = "free"
    TIMED = "timed"
    ONCE = "once"


class Given(StrEnum):
    """What may happen to an alert."""

    RAISE = "raise"
    CHANGE = "change"
    WORSEN = "worsen"
    END = "end"
    REMIND = "remind"
    ESCALATE = "escalate"
    RUN_OUT = "run out"
    INHIBIT = "inhibit"
    RELEASE = "release"
    ACKNOWLEDGE = "acknowledge"
    COMMENT = "comment"
    SHELVE = "shelve"
    SHELVE_ONCE = "shelve once"
    UNSHELVE = "unshelve"
    RESET = "reset"
    """Somebody ends it; to the tables that is END."""


class Said(StrEnum):
    """What is told about it; the values from REMINDED on are reasons of updates."""

    ACTIVE = "active"
    UPDATED = "updated"
    CLEARED = "cleared"
    REMINDED = "reminder"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    COMMENTED = "comment"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"


class Place(NamedTuple):
    """Where an alert stands."""

    alarm: Alarm = Alarm.NORMAL
    shelf: Shelf = Shelf.FREE
    inhibited: bool = False
    told: bool = False
    """True from the event that says it is active to the one that says it is cleared."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is told for the time being."""
        return self.shelf is not Shelf.FREE or self.inhibited

    @property
    def waiting(self) -> bool:
        """Whether it is told and somebody should take note: time counts for reminders."""
        return self.alarm is Alarm.UNACKED and self.told and not self.quiet


_N, _U, _A = Alarm.NORMAL, Alarm.UNACKED, Alarm.ACKED
_F, _T, _O = Shelf.FREE, Shelf.TIMED, Shelf.ONCE

ALARM: Final[dict[tuple[Alarm, Given], tuple[Alarm, Said]]] = {
    (_N, Given.RAISE): (_U, Said.ACTIVE),
    (_U, Given.CHANGE): (_U, Said.UPDATED),
    (_U, Given.WORSEN): (_U, Said.UPDATED),
    (_U, Given.REMIND): (_U, Said.REMINDED),
    (_U, Given.ESCALATE): (_U, Said.ESCALATED),
    (_U, Given.ACKNOWLEDGE): (_A, Said.ACKNOWLEDGED),
    (_U, Given.COMMENT): (_U, Said.COMMENTED),
    (_U, Given.END): (_N, Said.CLEARED),
    (_A, Given.CHANGE): (_A, Said.UPDATED),
    (_A, Given.WORSEN): (_U, Said.UPDATED),  # more severe than what was taken note of
    (_A, Given.COMMENT): (_A, Said.COMMENTED),
    (_A, Given.END): (_N, Said.CLEARED),
}
SHELF: Final[dict[tuple[Shelf, Given], tuple[Shelf, Said | None]]] = {
    (_F, Given.SHELVE): (_T, Said.SHELVED),
    (_F, Given.SHELVE_ONCE): (_O, Said.SHELVED),
    (_T, Given.SHELVE): (_T, Said.SHELVED),
    (_T, Given.SHELVE_ONCE): (_O, Said.SHELVED),
    (_T, Given.UNSHELVE): (_F, Said.UNSHELVED),
    (_T, Given.RUN_OUT): (_F, Said.UNSHELVED),
    (_O, Given.SHELVE): (_T, Said.SHELVED),
    (_O, Given.UNSHELVE): (_F, Said.UNSHELVED),
    (_O, Given.END): (_F, None),
}
_TO_PEOPLE: Final = {Said.ACKNOWLEDGED, Said.COMMENTED, Said.SHELVED, Said.UNSHELVED}
"""Answers to what somebody did: told also while the alert is quiet."""


def move(place: Place, given: Given) -> tuple[Place, list[Said]] | None:
    """Where the alert stands then and what is to be told, in order; None: not possible there."""
    alarm = ALARM.get((place.alarm, given))
    shelf = SHELF.get((place.shelf, given))
    if alarm is None and shelf is None and given not in (Given.INHIBIT, Given.RELEASE):
        return None
    inhibited = given is Given.INHIBIT or (
        place.inhibited and given not in (Given.RELEASE, Given.END)
    )
    after = Place(
        alarm[0] if alarm else place.alarm,
        shelf[0] if shelf else place.shelf,
        inhibited,
        place.told,
    )
    told: list[Said] = []
    for said in (alarm[1] if alarm else None, shelf[1] if shelf else None):
        if said is None or said is Said.ACTIVE:
            continue  # the rule below says it
        if said in _TO_PEOPLE or (place.told and (said is Said.CLEARED or not after.quiet)):
            told.append(said)
    if after.alarm is Alarm.NORMAL:
        return after._replace(told=False), told
    if not after.told and not after.quiet:
        return after._replace(told=True), [*told, Said.ACTIVE]
    return after, told
