"""Batched incremental decoding with slots: episodes of different length enter and leave.

Below the memory each slot keeps its keys and values: only new tokens are ever fed, once a
decision, together with its `<act>`. Above it a decision has a cache of its own, as long as one
action; contrastive decoding repeats only that, in the same batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from model.choosing import GREEDY, Sampling, choose, restrict, token_trie
from model.decoder_layer import JoinedLayer, rotary_table
from model.errors import ModelError
from model.procedure_lm import ProcedureLM
from model.slot_cache import SlotCache

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
    The weights are taken as they are now: after training, make a new engine.
    """

    def __init__(self, model: ProcedureLM, slots: int, max_tokens: int) -> None:
        self.model = model.eval()
        self.max_tokens = max_tokens
        backbone = model.backbone
        like = backbone.embed(torch.zeros(1, 1, dtype=torch.long))  # (1, 1, D)
        self._layers = [JoinedLayer(layer) for layer in backbone.transformer.layers]
        cosine, sine = backbone.rotary(like, torch.arange(max(max_tokens, LONGEST_ACTION))[None])
        self._rotary = rotary_table(cosine[0], sine[0])
        heads, width = backbone.heads, backbone.head_width
        self._below = SlotCache(len(backbone.below), slots, max_tokens, heads, width, like)
        D_m = model.config.memory.width
        self._memory_keys = like.new_zeros(slots, max_tokens, D_m)
        self._memory_values = like.new_zeros(slots, max_tokens, D_m)
        self._lengths = [0] * slots  # tokens that the caches hold
        self._waiting: list[list[int]] = [[] for _ in range(slots)]  # tokens still to be fed
        self._above = _AnswerCache(model, slots, like)

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Start new episodes in these slots; prompts end before the first `<act>`."""
        for slot in slots:
            self._lengths[slot] = 0
            self._waiting[slot] = []
        self.feed(slots, prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to each slot; the model sees them at the next `read`.

        `ModelError` if a sequence would outgrow `max_tokens`.
        """
        for slot, more in zip(slots, tokens, strict=True):
            self._waiting[slot].extend(more)
            self._check_length(self._lengths[slot] + len(self._waiting[slot]))

    def _check_length(self, length: int) -> None:
        if length > self.max_tokens:
            raise ModelError(
                f"a sequence of {length} tokens does not fit into model.max_tokens = "
                f"{self.max_tokens}: raise it, or lower stream.step_limit or the tasks' sizes"
            )

    def read(self, slots: Sequence[int]) -> Reading:
        """Feed `<act>` and compute the procedure R of each slot's next decision."""
        slots = list(slots)
        decision = self._run_below(slots)  # (B, D)
        lengths = torch.tensor([self._lengths[slot] for slot in slots], device=decision.device)
        T = max(self._lengths[slot] for slot in slots)
        keys, values = self._memory_keys, self._memory_values
        if slots == list(range(len(slots))):  # a view suffices
            keys, values = keys[: len(slots), :T], values[: len(slots), :T]
        else:
            rows = torch.tensor(slots, device=decision.device)
            keys, values = keys[rows, :T], values[rows, :T]
        seen = torch.arange(T, device=decision.device) < lengths[:, None, None]  # (B, 1, T)
        queries = self.model.memory_write.queries(decision)[:, None]  # (B, 1, N, D_m)
        memory = self.model.memory_write(queries, keys, values, seen)[:, 0]  # (B, N, D_m)
        quantised = self.model.quantise(memory)
        return Reading(quantised.codes.cpu().numpy().astype(np.uint16), quantised.procedure)

    def _run_below(self, slots: list[int]) -> Tensor:
        """Feed what waits, and `<act>`; the hidden states (B, D) of `<act>`."""
        fed = [[*self._waiting[slot], self.model.tokenizer.act] for slot in slots]
        starts = [self._lengths[slot] for slot in slots]
        for slot, start, tokens in zip(slots, starts, fed, strict=True):
            self._check_length(start + len(tokens))
        growth = self._below.grow(slots, starts, [len(tokens) for tokens in fed])
        packed = torch.tensor([token for tokens in fed for token in tokens])  # (P,)
        hidden = self.model.backbone.embed(packed.to(growth.places.device))  # (P, D)
        rotary = (self._rotary[0][growth.positions], self._rotary[1][growth.positions])
        for index in self.model.backbone.below:
            hidden = self._layers[index](
                hidden, rotary, lambda q, k, v, at=index: self._below.attend(at, growth, q, k, v)
            )
        keys, values = self.model.memory_write.keys_values(hidden)  # (P, D_m)
        self._memory_keys.view(-1, keys.shape[1]).index_copy_(0, growth.places, keys)
        self._memory_values.view(-1, keys.shape[1]).index_copy_(0, growth.places, values)
        for slot, start, tokens in zip(slots, starts, fed, strict=True):
            self._lengths[slot] = start + len(tokens)
            self._waiting[slot] = []
        return hidden[growth.last]

    def decode(
        self,
        slots: Sequence[int],
        procedures: Tensor,
        contrast: Tensor | None = None,
        has_contrast: Tensor | None = None,
        alpha: float = 0.0,
        gamma: float = 0.1,
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
        sampling: Sampling = GREEDY,
    ) -> list[list[int]]:
        """The action tokens of each decision, without `<end>`.

        R⁺ is `procedures`, R⁻ is `contrast` (both (B, n, d)). Where `has_contrast` (B,) holds:
        score(v) = (1+α)·log p⁺(v) - α·log p⁻(v) over the tokens with p⁺(v) ≥ γ·max p⁺ (NeSyPr,
        phase 2); elsewhere log p⁺. `allowed` restricts each answer to one of its sequences,
        before the contrast, so that plausibility is among what is allowed.
        """
        B, end = len(slots), self.model.tokenizer.end
        if procedures.shape[0] != B:
            raise ModelError(f"{B} slots but {procedures.shape[0]} procedures")
        contrasted: list[int] = []
        if contrast is not None and has_contrast is not None:
            contrasted = has_contrast.nonzero()[:, 0].tolist()
            if contrasted:
                procedures = torch.cat([procedures, contrast[contrasted]])
        nodes = None if allowed is None else [token_trie(answers, end) for answers in allowed]
        answers: list[list[int]] = [[] for _ in range(B)]
        running = list(range(B))  # decisions whose answers have rows above, in this order
        self._above.start(procedures)
        tokens = torch.full((B + len(contrasted),), self.model.tokenizer.act)
        for _ in range(LONGEST_ACTION):
            scores = self._above.step(tokens)  # (rows, V)
            positive = scores[: len(running)]
            if nodes is not None:
                positive = restrict(positive, [nodes[decision] for decision in running])
            if contrasted:
                ...
        return answers
