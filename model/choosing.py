"""Which token comes next: greedy or sampled, of all tokens or of an admissible answer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.errors import ModelError


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 is greedy; else draws from softmax(score / temperature), cut to the smallest
    set of most likely tokens whose probabilities sum to `top_p` or more (arXiv:1904.09751)."""

    temperature: float = 0.0
    top_p: float = 1.0
    generator: torch.Generator | None = field(default=None, compare=False)


GREEDY = Sampling()

Trie = dict[int, "Trie"]
"""Where each token that may come next leads."""


def choose(scores: Tensor, sampling: Sampling = GREEDY) -> Tensor:
    """One token for each row of (B, V) log-probabilities, each row up to a constant: (B,)."""
    if sampling.temperature == 0.0:
        return scores.argmax(-1)
    shifted = scores.float() - scores.amax(-1, keepdim=True).float()  # so that no quotient is NaN
    chances = torch.softmax(shifted / sampling.temperature, -1)
    if sampling.top_p < 1.0:
        chances = nucleus(chances, sampling.top_p)
    return torch.multinomial(chances, 1, generator=sampling.generator)[:, 0]


def nucleus(chances: Tensor, top_p: float) -> Tensor:
    """(B, V) with all but each row's smallest set of most likely tokens ≥ top_p set to 0."""
    ordered, order = chances.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    ordered[:, 0] = ordered[:, 0].clamp(min=torch.finfo(ordered.dtype).tiny)  # never nothing
    return torch.zeros_like(chances).scatter_(-1, order, ordered)


def token_trie(answers: Sequence[Sequence[int]], end: int) -> Trie:
    """Admissible answers as a tree of tokens, each closed by `<end>`, which then repeats itself.

    Raises `ModelError` where there is no answer.
    """
    if not answers:
        raise ModelError("a decision is restricted to no answer at all: end the episode before")
    closed: Trie = {}
    closed[end] = closed
    root: Trie = {}
    for answer in answers:
        node = root
        for token in answer:
            node = node.setdefault(token, {})
        node[end] = closed
    return root


def walk(trie: Trie, tokens: Sequence[int]) -> Trie:
    """Where these tokens lead, all of which the trie has."""
    for token in tokens:
        trie = trie[token]
    return trie


def restrict(scores: Tensor, nodes: Sequence[Trie]) -> Tensor:
    """(B, V) with -∞ for every token that leads out of its row's trie."""
    rows = [row for row, node in enumerate(nodes) for _ in node]
    tokens = [token for node in nodes for token in node]
    place = (torch.tensor(rows, device=scores.device), torch.tensor(tokens, device=scores.device))
    kept = torch.full_like(scores, float("-inf"))
    kept[place] = scores[place]
    return kept
