"""Traces as tensors: one sequence a trace, end to end, with the place of every decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ModelError
from model.packing import Packing
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
class Words:
    """W words at P ≤ W positions: a position holds a word and those that join it."""

    tokens: Tensor  # (W,) int64
    roles: Tensor  # (W,) 0 for a position's first word, 1 for the next …
    starts: Tensor  # (P,) where each position's words begin

    @classmethod
    def join(cls, tokens: Tensor, joins: Tensor, first: Tensor) -> Words:
        """Words (W,) of which `joins` (V,) join what stands before, but never at places `first`."""
        heads = ~joins[tokens]  # (W,)
        heads[first] = True
        starts = heads.nonzero()[:, 0]  # (P,)
        places = torch.arange(len(tokens))
        roles = places - starts[heads.cumsum(0) - 1]
        return cls(tokens, roles, starts)

    def to(self, device: torch.device | str) -> Words:
        """The same on another device."""
        return Words(self.tokens.to(device), self.roles.to(device), self.starts.to(device))


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """B traces end to end, W words at P positions, with S decisions of up to L answer tokens."""

    words: Words  # (W,) at P positions
    positions: Tensor  # (P,) the place of each position in its own trace
    packing: Packing  # of the positions in (B, T)
    act: Tensor  # (S,) the position of each decision's <act> among the P
    decisions: Packing  # of the decisions in (B, most decisions of a trace)
    inputs: Tensor  # (S, L) <act> and the answer without its last token
    targets: Tensor  # (S, L) the answer: action words, <end>
    mask: Tensor  # (S, L) bool: where a target stands

    @property
    def token_count(self) -> int:
        """W."""
        return len(self.words.tokens)

    @property
    def decision_count(self) -> int:
        """S."""
        return len(self.act)

    def to(self, device: torch.device | str) -> TraceBatch:
        """The same batch on another device."""
        return TraceBatch(
            self.words.to(device),
            self.positions.to(device),
            self.packing.to(device),
            self.act.to(device),
            self.decisions.to(device),
            self.inputs.to(device),
            self.targets.to(device),
            self.mask.to(device),
        )


def collate(traces: Sequence[EncodedTrace], joins: Tensor) -> TraceBatch:
    """Put traces end to end; `ModelError` if there is no decision among them.

    `joins` (V,) says which tokens stand at the position of the one before.
    """
    numbers = [len(trace.decisions) for trace in traces]
    if not sum(numbers):
        raise ModelError("a batch of traces needs at least one decision")
    tokens = torch.tensor([token for trace in traces for token in trace.tokens])  # (W,)
    lengths = torch.tensor([0, *(len(trace.tokens) for trace in traces)])
    begins = lengths.cumsum(0)[:-1]  # (B,)
    words = Words.join(tokens, joins, begins)
    place = torch.zeros(len(tokens), dtype=torch.long)
    place[words.starts] = 1
    place = place.cumsum(0) - 1  # (W,) the position of each word
    packing, _, positions = _pack(
        torch.diff(torch.cat([place[begins], torch.tensor([len(words.starts)])])).tolist()
    )
    decisions, row, _ = _pack(numbers)
    act = begins[row] + torch.tensor([at for trace in traces for at, _ in trace.decisions])  # (S,)
    answers = torch.tensor([length for trace in traces for _, length in trace.decisions])  # (S,)
    places = act[:, None] + torch.arange(int(answers.max()) + 1)  # (S, L+1)
    spoken = tokens[places.clamp(max=len(tokens) - 1)]  # (S, L+1)
    return TraceBatch(
        words,
        positions,
        packing,
        place[act],
        decisions,
        inputs=spoken[:, :-1],
        targets=spoken[:, 1:],
        mask=torch.arange(int(answers.max())) < answers[:, None],
    )


def _pack(lengths: Sequence[int]) -> tuple[Packing, Tensor, Tensor]:
    """The packing of rows of these lengths, and row and place in it of every item."""
    counts = torch.tensor(lengths)
    row = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    longest = max(lengths)
    return Packing(len(lengths), longest, row * longest + place), row, place
