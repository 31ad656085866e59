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

    def keep(self, decisions: Sequence[int], begin: int) -> EncodedTrace:
        """The trace with some of its decisions, by number and in order.

        Texts that begin anew (at token `begin`) and serve no decision that is kept are left out.
        """
        starts = [place for place, token in enumerate(self.tokens) if token == begin]
        if not starts or starts[0] != 0:
            starts.insert(0, 0)
        tokens: list[int] = []
        kept: list[tuple[int, int]] = []
        wanted = [self.decisions[number] for number in decisions]
        for start, stop in zip(starts, [*starts[1:], len(self.tokens)]):
            here = [(place, length) for place, length in wanted if start <= place < stop]
            kept += [(place - start + len(tokens), length) for place, length in here]
            if here:
                tokens += self.tokens[start:stop]
        return EncodedTrace(tuple(tokens), tuple(kept))


@dataclass(frozen=True, slots=True)
class Words:
    """W words at P ≤ W positions: a position holds a word and those that join it."""

    tokens: Tensor  # (W,) int64
    roles: Tensor  # (W,) 0 for a position's first word, 1 for the next …
    starts: Tensor  # (P,) where each position's words begin
    position: Tensor  # (W,) which of the P positions a word stands at

    @classmethod
    def join(
        cls,
        tokens: Tensor,
        joined: frozenset[int],
        first: Tensor,
        apart: Tensor | None = None,
    ) -> Words:
        """Words (W,) of which those in `joined` join what stands before.

        But none at `first` (places or a mask), and none where `apart` (W,) holds.
        """
        if not joined:
            places = torch.arange(len(tokens))
            return cls(tokens, torch.zeros_like(tokens), places, places)
        heads = torch.isin(tokens, torch.tensor(sorted(joined)), invert=True)  # (W,)
        heads[first] = True
        if apart is not None:
            heads |= apart
        starts = heads.nonzero()[:, 0]  # (P,)
        position = heads.cumsum(0) - 1
        roles = torch.arange(len(tokens)) - starts[position]
        return cls(tokens, roles, starts, position)

    def to(self, device: torch.device | str) -> Words:
        """The same on another device."""
        return Words(
            self.tokens.to(device),
            self.roles.to(device),
            self.starts.to(device),
            self.position.to(device),
        )


@dataclass(frozen=True, slots=True)
class TraceBatch:
    """B texts end to end, W words at P positions, with S decisions of up to L answer tokens.

    A trace is one text, or several where it begins anew on the way.
    """

    words: Words  # (W,) at P positions
    positions: Tensor  # (P,) the place of each position in its own text
    packing: Packing  # of the positions in (B, T)
    act: Tensor  # (S,) the position of each decision's <act> among the P
    decisions: Packing  # of the decisions in (B, most decisions of a text)
    inputs: Tensor  # (S, L) <act> and the answer without its last token
    targets: Tensor  # (S, L) the answer: action words, <end>
    mask: Tensor  # (S, L) bool: where a target stands
    of_trace: Tensor  # (traces,) how many of the decisions each trace has

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
            self.of_trace.to(device),
        )


def collate(traces: Sequence[EncodedTrace], tokenizer: Tokenizer) -> TraceBatch:
    """Put traces end to end; `ModelError` if there is no decision among them."""
    if not any(trace.decisions for trace in traces):
        raise ModelError("a batch of traces needs at least one decision")
    tokens = torch.tensor([token for trace in traces for token in trace.tokens])  # (W,)
    lengths = torch.tensor([len(trace.tokens) for trace in traces])
    begins = lengths.cumsum(0) - lengths  # (traces,)
    first = torch.zeros(len(tokens) + 1, dtype=torch.bool)
    first[:-1] = tokens == tokenizer.begin
    first[begins] = True
    first = first[:-1]
    apart = open_answers(tokens, tokenizer) > 0 if tokenizer.answers_apart else None
    words = Words.join(tokens, tokenizer.joined, first, apart)
    text = first.cumsum(0) - 1  # (W,) the text of each word
    B = int(text[-1]) + 1
    packing, positions = _pack(torch.bincount(text[words.starts], minlength=B))
    of_trace = torch.tensor([len(trace.decisions) for trace in traces])
    within = torch.tensor([place for trace in traces for place, _ in trace.decisions])  # (S,)
    act = torch.repeat_interleave(begins, of_trace) + within  # (S,) among the W words
    decisions, _ = _pack(torch.bincount(text[act], minlength=B))
    answers = torch.tensor([length for trace in traces for _, length in trace.decisions])  # (S,)
    places = act[:, None] + torch.arange(int(answers.max()) + 1)  # (S, L+1)
    spoken = tokens[places.clamp(max=len(tokens) - 1)]  # (S, L+1)
    return TraceBatch(
        words,
        positions,
        packing,
        words.position[act],
        decisions,
        inputs=spoken[:, :-1],
        targets=spoken[:, 1:],
        mask=torch.arange(int(answers.max())) < answers[:, None],
        of_trace=of_trace,
    )


def open_answers(tokens: Tensor, tokenizer: Tokenizer) -> Tensor:
    """How many answers have begun before each word (W,) and not ended: 0 or 1, for whole texts.

    So it is 1 from the first word after `<act>` to `<end>`.
    """
    steps = (tokens == tokenizer.act).long() - (tokens == tokenizer.end).long()
    return steps.cumsum(0) - steps


def _pack(counts: Tensor) -> tuple[Packing, Tensor]:
    """The packing of rows of these lengths, and every item's place in its row."""
    row = torch.repeat_interleave(torch.arange(len(counts)), counts)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    longest = int(counts.max())
    return Packing(len(counts), longest, row * longest + place), place
