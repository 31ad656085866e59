"""Traces as tensors: one sequence a trace, end to end, with the place of every decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ModelError
from model.packing import Packing
from model.tokenizer import NO_RENAMING, Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedTrace:
    """A trace's tokens and, for each decision, where its `<act>` stands and how long it is.

    `decisions` are (position of `<act>`, number of tokens after it, `<end>` included).
    """

    tokens: tuple[int, ...]
    decisions: tuple[tuple[int, int], ...]

    @classmethod
    def encode(
        cls,
        tokenizer: Tokenizer,
        prompt: str,
        observations: Sequence[str],
        actions: Sequence[str],
        renaming: Mapping[str, str] = NO_RENAMING,
    ) -> EncodedTrace:
        """Prompt, then for each decision: observation, `<act>`, the action's words, `<end>`.

        `renaming` exchanges words first.
        """
        tokens = tokenizer.encode(prompt, renaming)
        decisions = []
        for observation, action in zip(observations, actions, strict=True):
            tokens += tokenizer.encode(observation, renaming)
            answer = [*tokenizer.encode(action, renaming), tokenizer.end]
            decisions.append((len(tokens), len(answer)))
            tokens += [tokenizer.act, *answer]
        return cls(tuple(tokens), tuple(decisions))


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """B traces, P tokens end to end, with S decisions in all, of up to L answer tokens each."""

    tokens: Tensor  # (P,) int64
    positions: Tensor  # (P,) the place of each token in its own trace
    packing: Packing  # of the tokens in (B, T)
    act: Tensor  # (S,) the place of each decision's <act> among the P tokens
    decisions: Packing  # of the decisions in (B, most decisions of a trace)
    inputs: Tensor  # (S, L) <act> and the answer without its last token
    targets: Tensor  # (S, L) the answer: action words, <end>
    mask: Tensor  # (S, L) bool: where a target stands

    @property
    def token_count(self) -> int:
        """P."""
        return len(self.tokens)

    @property
    def decision_count(self) -> int:
        """S."""
        return len(self.act)

    def to(self, device: torch.device | str) -> TraceBatch:
        """The same batch on another device."""
        return TraceBatch(
            self.tokens.to(device),
            self.positions.to(device),
            self.packing.to(device),
            self.act.to(device),
            self.decisions.to(device),
            self.inputs.to(device),
            self.targets.to(device),
            self.mask.to(device),
        )


def collate(traces: Sequence[EncodedTrace]) -> TraceBatch:
    """Put traces end to end; `ModelError` if there is no decision among them."""
    numbers = [len(trace.decisions) for trace in traces]
    if not sum(numbers):
        raise ModelError("a batch of traces needs at least one decision")
    lengths = [len(trace.tokens) for trace in traces]
    tokens = torch.tensor([token for trace in traces for token in trace.tokens])  # (P,)
    packing, _, positions = _pack(lengths)
    decisions, row, _ = _pack(numbers)
    starts = torch.tensor([0, *lengths]).cumsum(0)  # (B+1,)
    act = starts[row] + torch.tensor([at for trace in traces for at, _ in trace.decisions])  # (S,)
    answers = torch.tensor([length for trace in traces for _, length in trace.decisions])  # (S,)
    places = act[:, None] + torch.arange(int(answers.max()) + 1)  # (S, L+1)
    words = tokens[places.clamp(max=len(tokens) - 1)]  # (S, L+1)
    return TraceBatch(
        tokens,
        positions,
        packing,
        act,
        decisions,
        inputs=words[:, :-1],
        targets=words[:, 1:],
        mask=torch.arange(int(answers.max())) < answers[:, None],
    )


def _pack(lengths: Sequence[int]) -> tuple[Packing, Tensor, Tensor]:
    """The packing of rows of these lengths, and row and place in it of every item."""
    counts = torch.tensor(lengths)
    row = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    longest = max(lengths)
    return Packing(len(lengths), longest, row * longest + place), row, place
