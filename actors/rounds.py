"""What actors and the inference actor that they share say to each other: plain values.

An actor opens a session for each request that it acts. All of a session's decisions are made with
the weights that were the newest when it was opened; every answer says with which, and how far the
banks had been followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from actors.errors import ActingError
from actors.policy import Choice
from actors.records import Shuffle
from model.tokenizer import Tokenizer

Tokens = tuple[int, ...]


class InferenceLostError(ActingError):
    """The inference actor died, did not answer in time, or knows the session no more.

    `inference`: who is to be replaced; "" where nobody is. `overdue`: it was waited for in vain.
    """

    def __init__(self, inference: str, sentence: str, overdue: bool = False) -> None:
        super().__init__(sentence)
        self.inference = inference
        self.overdue = overdue

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.inference, str(self), self.overdue)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session: its number, its version for good, and the banks' watermark when it began."""

    session: int
    version: int
    watermark: int  # batches of the banks' logs that had been applied, of all domains together
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round of decisions of an actor's B running episodes, and their new text before it."""

    session: int
    texts: tuple[tuple[int, bool, Tokens], ...]  # slot, whether a new episode begins, tokens
    slots: tuple[int, ...]  # (B,) of the actor's own
    domains: tuple[str, ...]  # (B,)
    allowed: tuple[tuple[Tokens, ...], ...] | None = None  # (B,)
    shuffle: Shuffle = "none"
    banks: bool = True
    watched: tuple[int, ...] = ()  # rows


@dataclass(frozen=True, slots=True)
class Answered:
    """What was chosen in a round (B,), and with what."""

    version: int
    watermark: int
    choices: tuple[Choice, ...]


class Inference(Protocol):
    """The way to an inference actor. All wait at most their deadline, then InferenceLostError."""

    @property
    def name(self) -> str:
        """Of the inference actor."""

    def open(self, actor: str) -> Opened:
        """Begin a session with the newest weights and banks; it ends the actor's former one."""

    def decide(self, asked: Round) -> Answered:
        """Make the decisions of a round."""

    def close(self, session: int) -> None:
        """End a session; waits for nothing."""

    def tokenizer(self) -> Tokenizer:
        """That of all versions."""
