"""Traces as tensors: one sequence a trace, with the place of every decision in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ModelError
from model.tokenizer import WordTokenizer


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
        tokenizer: WordTokenizer,
        prompt: str,
        observations: Sequence[str],
        actions: Sequence[str],
    ) -> EncodedTrace:
        """Prompt, then for each decision: observation, `<act>`, the action's words, `<end>`."""
        tokens = tokenizer.encode(prompt)
        decisions = []
        for observation, action in zip(observations, actions, strict=True):
            tokens += tokenizer.encode(observation)
            answer = [*tokenizer.encode(action), tokenizer.end]
            decisions.append((len(tokens), len(answer)))
            tokens += [tokenizer.act, *answer]
        return cls(tuple(tokens), tuple(decisions))


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """B traces of up to T tokens with S decisions in all, of up to L answer tokens each."""

    tokens: Tensor  # (B, T) int64, padded on the right with <pad>
    row: Tensor  # (S,) the trace of each decision
    position: Tensor  # (S,) of its <act>
    inputs: Tensor  # (S, L) <act> and the answer without its last token
    targets: Tensor  # (S, L) the answer: action words, <end>
    mask: Tensor  # (S, L) bool: where a target stands
    token_count: int  # without padding

    def to(self, device: torch.device | str) -> TraceBatch:
        """The same batch on another device."""
        return TraceBatch(
            self.tokens.to(device),
            self.row.to(device),
            self.position.to(device),
            self.inputs.to(device),
            self.targets.to(device),
            self.mask.to(device),
            self.token_count,
        )


def collate(traces: Sequence[EncodedTrace]) -> TraceBatch:
    """Stack traces; `ModelError` if there is no decision among them."""
    lengths = [length for trace in traces for _, length in trace.decisions]
    if not lengths:
        raise ModelError("a batch of traces needs at least one decision")
    T, L = max(len(trace.tokens) for trace in traces), max(lengths)
    tokens = torch.zeros(len(traces), T, dtype=torch.long)  # (B, T)
    rows, positions = [], []
    for number, trace in enumerate(traces):
        tokens[number, : len(trace.tokens)] = torch.tensor(trace.tokens)
        rows += [number] * len(trace.decisions)
        positions += [position for position, _ in trace.decisions]
    row, position = torch.tensor(rows), torch.tensor(positions)  # (S,)
    places = position[:, None] + torch.arange(L + 1)  # (S, L+1)
    answers = tokens[row[:, None], places.clamp(max=T - 1)]  # (S, L+1)
    mask = torch.arange(L) < torch.tensor(lengths)[:, None]  # (S, L)
    return TraceBatch(
        tokens,
        row,
        position,
        inputs=answers[:, :-1],
        targets=answers[:, 1:],
        mask=mask,
        token_count=sum(len(trace.tokens) for trace in traces),
    )
