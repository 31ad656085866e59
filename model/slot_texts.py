"""The texts of running episodes, slot by slot: what the caches hold of them, and what waits."""

from __future__ import annotations

from collections.abc import Sequence

from model.errors import ModelError
from model.tokenizer import Tokenizer


class SlotTexts:
    """Tokens come by `enter` and `feed`, go by `take`, and count as held after `grow`."""

    def __init__(self, tokenizer: Tokenizer, slots: int, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.lengths = [0] * slots
        """Positions that the caches hold."""
        self._waiting: list[list[int]] = [[] for _ in range(slots)]

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Forget what these slots held, and begin with their prompts."""
        for slot in slots:
            self.lengths[slot], self._waiting[slot] = 0, []
        self.feed(slots, prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to each slot; where a text begins anew, forget what stands before.

        `ModelError` if a sequence would outgrow `max_tokens`.
        """
        begin = self._tokenizer.begin
        for slot, more in zip(slots, tokens, strict=True):
            if begin in more:
                more = more[len(more) - 1 - list(reversed(more)).index(begin) :]
                self.lengths[slot], self._waiting[slot] = 0, []
            self._waiting[slot].extend(more)
            self._check_length(self.lengths[slot] + len(self._waiting[slot]))

    def take(self, slots: Sequence[int]) -> tuple[list[list[int]], list[int]]:
        """What waits in each slot, and `<act>`; and after how many positions it stands."""
        fed = [[*self._waiting[slot], self._tokenizer.act] for slot in slots]
        starts = [self.lengths[slot] for slot in slots]
        for start, tokens in zip(starts, fed, strict=True):
            self._check_length(start + len(tokens))
        return fed, starts

    def grow(self, slots: Sequence[int], counts: Sequence[int]) -> None:
        """What was taken is held now, at so many positions more."""
        for slot, count in zip(slots, counts, strict=True):
            self.lengths[slot] += count
            self._waiting[slot] = []

    def _check_length(self, length: int) -> None:
        if length > self._max_tokens:
            raise ModelError(
                f"a sequence of {length} tokens does not fit into model.max_tokens = "
                f"{self._max_tokens}: raise it, or lower stream.step_limit or the tasks' sizes"
            )
