"""The learner's idle hands: bank entries are encoded again by the version that was just published.

In slices, between versions, for at most `shared_memory.bank.reencode_s` a version: what is left
then is taken up after the next one, longest unseen first, or retires when it lags too far behind.
Prompts are encoded with the weights as actors load them, so that an entry gets just the codes that
an actor of that version would give it (ours).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from model.decoding import DecodingEngine
from model.making import make_engine
from model.saving import from_bytes
from shared_memory.bank_reencoding import BankReencoding, Reencoded, StaleEntry
from shared_memory.records import SIGNS, Codes

BATCH = 64
SLICE_S = 0.25
"""After so long the learner looks up from it."""


class Encoder(Protocol):
    """A version of the small LM, as far as it makes procedures of prompts."""

    def encode(self, prompts: Sequence[Sequence[int]]) -> list[Codes | None]:
        """The procedure (n,) of each prompt; None where the version cannot read it."""


class PublishedEncoder:
    """The encoder of a published payload."""

    def __init__(self, payload: bytes) -> None:
        self._model, _ = from_bytes(payload)
        self._model.eval()
        self._engine: DecodingEngine | None = None
        if self._model.book.active:
            with torch.inference_mode():
                engine = make_engine(self._model, BATCH, self._model.config.max_tokens)
            self._engine = engine if isinstance(engine, DecodingEngine) else None

    def encode(self, prompts: Sequence[Sequence[int]]) -> list[Codes | None]:
        """The procedure (n,) of each of at most 64 prompts; None where it cannot be read: it has
        no tokens, other words or too many, or the book is not in use."""
        found: list[Codes | None] = [None] * len(prompts)
        rows = [row for row, prompt in enumerate(prompts) if self._readable(prompt)]
        if self._engine is None or not rows:
            return found
        slots = list(range(len(rows)))
        with torch.inference_mode():
            self._engine.enter(slots, [prompts[row] for row in rows])
            reading = self._engine.read(slots)
        for row, codes in zip(rows, reading.codes, strict=True):
            found[row] = codes
        return found

    def _readable(self, prompt: Sequence[int]) -> bool:
        room = self._model.config.max_tokens - 1
        return 0 < len(prompt) <= room and max(prompt) < len(self._model.tokenizer)


class Reencoding:
    """One version's pass over all banks, slice by slice."""

    def __init__(
        self,
        bank: BankReencoding,
        domains: Sequence[str],
        version: int,
        make_encoder: Callable[[], Encoder],
    ) -> None:
        self._bank = bank
        self._domains = domains
        self._version = version
        self._make_encoder = make_encoder
        self._steps: Iterator[None] | None = None
        self.done = Reencoded()
        self.unreadable = 0

    def go_on(self, seconds: float) -> bool:
        """Encode for about so long; False once every bank has been gone through."""
        until = time.monotonic() + seconds
        self._steps = self._steps if self._steps is not None else self._pass()
        while time.monotonic() < until:
            if next(self._steps, False) is False:
                return False
        return True

    def _pass(self) -> Iterator[None]:
        encoder: Encoder | None = None
        for domain in self._domains:
            for sign in SIGNS:
                skip = 0
                while stale := self._bank.stale(domain, sign, self._version, BATCH, skip):
                    encoder = encoder if encoder is not None else self._make_encoder()
                    skip += self._encode(encoder, stale)
                    yield

    def _encode(self, encoder: Encoder, stale: list[StaleEntry]) -> int:
        """Encode one batch; how many of it stay as they are."""
        codes = encoder.encode([each.entry.prompt_tokens for each in stale])
        known = [(each, new) for each, new in zip(stale, codes, strict=True) if new is not None]
        self.done += self._bank.write(
            [each for each, _ in known], [new for _, new in known], self._version
        )
        unreadable = len(stale) - len(known)
        self.unreadable += unreadable
        return unreadable


def pass_over(
    bank: BankReencoding, domains: Sequence[str], version: int, payload: bytes
) -> Reencoding:
    """The pass of a published version; its model is loaded when the first entry needs it."""
    return Reencoding(bank, domains, version, lambda: PublishedEncoder(payload))
