"""Batched incremental decoding with slots: episodes of different length enter and leave.

Below the memory each slot keeps its keys and values: only new tokens are ever fed. Above it a
decision has a cache of its own, as long as one action; contrastive decoding repeats only that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.backbone import KeyValueCache
from model.errors import ModelError
from model.procedure_lm import ProcedureLM

LONGEST_ACTION = 16
"""Tokens after which an action that has not ended is cut."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The procedures of B decisions."""

    codes: npt.NDArray[np.uint16]  # (B, n)
    memory: Tensor  # (B, n, d) R; continuous where the book is not (yet) quantised


class DecodingEngine:
    """Slots for running episodes of one model. Not thread-safe; call under inference mode.

    For each episode: `enter` with its prompt; then for each decision `read`, `decode`, `feed`.
    """

    def __init__(self, model: ProcedureLM, slots: int, max_tokens: int) -> None:
        self.model = model.eval()
        self.max_tokens = max_tokens
        backbone, D_m = model.backbone, model.config.memory.width
        self._below = KeyValueCache(
            backbone.below, slots, backbone.heads, max_tokens, backbone.head_width
        )
        self._memory_keys = torch.zeros(slots, max_tokens + 1, D_m)
        self._memory_values = torch.zeros(slots, max_tokens + 1, D_m)
        self._lengths = torch.zeros(slots, dtype=torch.long)

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Start new episodes in these slots; prompts end before the first `<act>`."""
        self._lengths[list(slots)] = 0
        self.feed(slots, prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens to each slot; returns the hidden state (B, D) of each slot's last one.

        `ModelError` if a sequence would outgrow `max_tokens`.
        """
        rows = torch.tensor(list(slots))
        lengths = torch.tensor([len(sequence) for sequence in tokens])
        start = self._lengths[rows]
        longest = int((start + lengths).max())
        if longest > self.max_tokens:
            raise ModelError(
                f"a sequence of {longest} tokens does not fit into model.max_tokens = "
                f"{self.max_tokens}: raise it, or lower stream.step_limit or the tasks' sizes"
            )
        T = int(lengths.max())
        padded = torch.zeros(len(rows), T, dtype=torch.long)
        for row, sequence in enumerate(tokens):
            padded[row, : len(sequence)] = torch.tensor(list(sequence), dtype=torch.long)
        steps = torch.arange(T)
        positions = start[:, None] + steps  # (B, T); those of padding are overwritten later
        mask = self._below.take(rows, positions)
        hidden = self.model.backbone.run_below(
            padded, positions.clamp(max=self.max_tokens - 1), mask, self._below
        )  # (B, T, D)
        keys, values = self.model.memory_write.keys_values(hidden)
        place = (rows[:, None], positions.clamp(max=self.max_tokens))
        self._memory_keys[place], self._memory_values[place] = keys, values
        self._lengths[rows] = start + lengths
        return hidden[torch.arange(len(rows)), (lengths - 1).clamp(min=0)]

    def read(self, slots: Sequence[int]) -> Reading:
        """Feed `<act>` and compute the procedure R of each slot's next decision."""
        rows = torch.tensor(list(slots))
        decision = self.feed(slots, [[self.model.tokenizer.act]] * len(rows))  # (B, D)
        lengths = self._lengths[rows]
        T = int(lengths.max())
        memory = self.model.memory_write(
            decision,
            self._memory_keys[rows, :T],
            self._memory_values[rows, :T],
            torch.arange(T) < lengths[:, None],
        )  # (B, N, D_m)
        quantised = self.model.quantise(memory)
        return Reading(quantised.codes.numpy().astype(np.uint16), quantised.procedure)

    def decode(
        self,
        slots: Sequence[int],
        procedures: Tensor,
        contrast: Tensor | None = None,
        has_contrast: Tensor | None = None,
        alpha: float = 0.0,
        gamma: float = 0.1,
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> list[list[int]]:
        """Greedy action tokens of each decision, without `<end>`.

        R⁺ is `procedures`, R⁻ is `contrast` (both (B, n, d)). Where `has_contrast` (B,) holds:
        score(v) = (1+α)·log p⁺(v) - α·log p⁻(v) over the tokens with p⁺(v) ≥ γ·max p⁺ (NeSyPr,
        phase 2); elsewhere log p⁺. `allowed` restricts each answer to one of its sequences.
        """
        B = len(slots)
        if procedures.shape[0] != B:
            raise ModelError(f"{B} slots but {procedures.shape[0]} procedures")
        end = self.model.tokenizer.end
        positive = _Answers(self.model, procedures)
        contrasted = torch.empty(0, dtype=torch.long)
        if contrast is not None and has_contrast is not None and bool(has_contrast.any()):
            contrasted = has_contrast.nonzero()[:, 0]
            negative = _Answers(self.model, contrast[contrasted])
        answers: list[list[int]] = [[] for _ in range(B)]
        running = [True] * B
        tokens = torch.full((B,), self.model.tokenizer.act)
        for _ in range(LONGEST_ACTION):
            scores = positive.step(tokens)  # (B, V) log p⁺
            if allowed is not None:  # first, so that plausibility is among what is allowed
                for row in range(B):
                    if running[row]:
                        _restrict(scores[row], answers[row], allowed[row], end)
            if len(contrasted):
                against = negative.step(tokens[contrasted])
                scores[contrasted] = contrastive_scores(scores[contrasted], against, alpha, gamma)
            tokens = scores.argmax(-1)  # (B,)
            for row, token in enumerate(tokens.tolist()):
                if running[row]:
                    if token == end:
                        running[row] = False
                    else:
                        answers[row].append(token)
            if not any(running):
                break
        return answers


def contrastive_scores(positive: Tensor, negative: Tensor, alpha: float, gamma: float) -> Tensor:
    """(1+α)·log p⁺ - α·log p⁻ where p⁺ ≥ γ·max p⁺, else -∞; all (B, V) (arXiv:2210.15097)."""
    plausible = positive >= positive.amax(-1, keepdim=True) + float(np.log(max(gamma, 1e-30)))
    scores = (1 + alpha) * positive - alpha * negative
    return scores.masked_fill(~plausible, float("-inf"))


def _restrict(
    scores: Tensor, prefix: list[int], allowed: Sequence[Sequence[int]], end: int
) -> None:
    """Set to -∞, in place, what continues none of the allowed sequences."""
    at = len(prefix)
    fitting = [answer for answer in allowed if list(answer[:at]) == prefix]
    following = {answer[at] if len(answer) > at else end for answer in fitting}
    keep = torch.tensor(sorted(following), dtype=torch.long)
    kept = scores[keep]
    scores.fill_(float("-inf"))
    scores[keep] = kept


class _Answers:
    """The layers above the memory, one token of each of S answers at a time."""

    def __init__(self, model: ProcedureLM, procedures: Tensor) -> None:
        backbone = model.backbone
        self._model = model
        self._read = [read.keys_values(procedures) for read in model.reads]
        self._rows = torch.arange(len(procedures))
        self._cache = KeyValueCache(
            backbone.above, len(procedures), backbone.heads, LONGEST_ACTION, backbone.head_width
        )
        self._position = 0

    def step(self, tokens: Tensor) -> Tensor:
        """Log-probabilities (S, V) of the next token after (S,)."""
        backbone = self._model.backbone
        hidden = backbone.embed(tokens[:, None])  # (S, 1, D)
        positions = torch.full((len(tokens), 1), self._position)
        mask = self._cache.take(self._rows, positions)
        rotary = backbone.rotary(hidden, positions[:1])
        for index, read, (keys, values) in zip(
            backbone.above, self._model.reads, self._read, strict=True
        ):
            hidden = backbone.layer(index, read(hidden, keys, values), rotary, mask, self._cache)
        self._position += 1
        return torch.log_softmax(backbone.logits(hidden)[:, 0], -1)
