"""What a fleet tells of its actors, and the error that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from actors.records import ActReport, ProbeReport
from configs.errors import NesyprError


class FleetError(NesyprError):
    """Actors cannot be kept alive, or one met an error that replacing it would not mend."""


@dataclass(frozen=True, slots=True)
class ActorUp:
    """An actor process is there and waits."""

    actor: str


@dataclass(frozen=True, slots=True)
class ActorAnswered:
    """An actor answered its request."""

    actor: str
    report: ActReport | ProbeReport


@dataclass(frozen=True, slots=True)
class ActorDown:
    """An actor died or was killed; a replacement comes where one is wanted."""

    actor: str
    overdue: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class ActorToLeave:
    """An actor shall go: give it nothing more, then `Fleet.dismiss` it."""

    actor: str


@dataclass(frozen=True, slots=True)
class ActorGone:
    """An actor that was dismissed has answered what it was asked, and is gone."""

    actor: str


FleetEvent: TypeAlias = ActorUp | ActorAnswered | ActorDown | ActorToLeave | ActorGone
