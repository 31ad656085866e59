"""Batched incremental decoding of a plain LM, called like `DecodingEngine`.

All layers keep the keys and values of a slot's text. The words of an answer in the making stand
in the places after it; once fed back, with what follows them, they are read there once more, so
that whatever answer is fed (the one decoded or another) the text is as training reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.batches import Words, open_answers
from model.choosing import GREEDY, Sampling, choose, restrict, token_trie
from model.decoder_layer import make_layers, rotary_table
from model.decoding import Reading
from model.errors import ModelError
from model.plain_lm import PlainLM
from model.slot_cache import Growth, SlotCache
from model.slot_texts import SlotTexts


class PlainDecodingEngine:
    """Slots for running episodes of one plain LM. Not thread-safe; call under inference mode.

    There are no procedures: `read` returns empty ones, and `decode` takes no others.
    """

    def __init__(self, model: PlainLM, slots: int, max_tokens: int) -> None:
        self.model = model.eval()
        self.max_tokens = max_tokens
        backbone = model.backbone
        self._layers = make_layers(backbone)
        self._roles = backbone.role_table()  # (roles, V, D)
        self._table = self._roles[0]  # (V, D)
        places = max_tokens + model.tokenizer.longest_action
        numbers = torch.arange(places, device=self._table.device)
        cosine, sine = backbone.rotary(self._table, numbers[None])
        self._rotary = rotary_table(cosine[0], sine[0])  # (places, 1, width / 2) complex
        self._cache = SlotCache(
            len(self._layers),
            slots,
            places,
            backbone.key_value_heads,
            backbone.head_width,
            self._table.to(backbone.dtype),
        )
        self._texts = SlotTexts(model.tokenizer, slots, max_tokens)
        self._acts = self._table.new_zeros(slots, self._table.shape[1])  # states of last <act>

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Start new episodes in these slots; prompts end before the first `<act>`."""
        self._texts.enter(slots, prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to each slot, first of all the answer to its last `<act>` and `<end>`.

        Where a text begins anew (`Tokenizer.begin`) the slot forgets what it held.
        `ModelError` if a sequence would outgrow `max_tokens`.
        """
        self._texts.feed(slots, tokens)

    def read(self, slots: Sequence[int]) -> Reading:
        """Feed what waits, and `<act>`; the procedures are empty, codes (B, 0)."""
        slots = list(slots)
        fed, starts = self._texts.take(slots)
        counts, hidden = self._embed(fed, starts)
        growth = self._cache.grow(slots, starts, counts)
        hidden = self._run(hidden, growth)[growth.last]  # (B, D)
        self._acts.index_copy_(0, torch.tensor(slots, device=hidden.device), hidden)
        self._texts.grow(slots, counts)
        return Reading(np.zeros((len(slots), 0), np.uint16), hidden.new_zeros(len(slots), 0, 0))

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
        """The action tokens of each decision that was `read`, without `<end>`.

        `allowed` restricts each answer to one of its sequences. `ModelError` where there is
        something to contrast with: a plain LM has no procedures.
        """
        del alpha, gamma
        if procedures.numel() or (has_contrast is not None and bool(has_contrast.any())):
            raise ModelError("a plain LM has no memory: it cannot answer by procedures of others")
        end = self.model.tokenizer.end
        nodes = None if allowed is None else [token_trie(answers, end) for answers in allowed]
        answers: list[list[int]] = [[] for _ in slots]
        running = list(range(len(slots)))
        scores = self.model.backbone.logits(self._acts[list(slots)])  # (B, V)
        for step in range(self.model.tokenizer.longest_action):
            if step:
                rows = [slots[decision] for decision in running]
                scores = self._step(rows, [answers[decision][-1] for decision in running], step)
            if nodes is not None:
                scores = restrict(scores, [nodes[decision] for decision in running])
            chosen = choose(scores, sampling).tolist()
            live = [(one, token) for one, token in zip(running, chosen) if token != end]
            for decision, token in live:
                answers[decision].append(token)
                if nodes is not None:
                    nodes[decision] = nodes[decision][token]
            running = [decision for decision, _ in live]
            if not running:
                break
        return answers

    def _step(self, slots: list[int], tokens: list[int], step: int) -> Tensor:
        """Logits (R, V) after the answers' `step`-th tokens, one in each of R slots."""
        starts = [self._texts.lengths[slot] + step - 1 for slot in slots]
        growth = self._cache.grow(slots, starts, [1] * len(slots))
        embedded = functional.embedding(
            torch.tensor(tokens, device=self._table.device), self._table
        )
        return self.model.backbone.logits(self._run(embedded, growth))

    def _run(self, hidden: Tensor, growth: Growth) -> Tensor:
        """All layers on new positions: (P, D) → (P, D)."""
        rotary = self._rotary.index_select(0, growth.positions)
        for index, layer in enumerate(self._layers):
            hidden = layer(hidden, rotary, partial(self._cache.attend, index, growth))
        return hidden

    def _embed(
        self, fed: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> tuple[list[int], Tensor]:
        """How many positions each sequence takes, and their embeddings (P, D), end to end."""
        device, tokenizer = self._table.device, self.model.tokenizer
        packed = torch.tensor([token for tokens in fed for token in tokens])  # (W,)
        lengths = torch.tensor([len(tokens) for tokens in fed])
        if not tokenizer.joined:
            return lengths.tolist(), functional.embedding(packed.to(device), self._table)
        first = lengths.cumsum(0) - lengths
        sequence = torch.repeat_interleave(torch.arange(len(fed)), lengths)
        answering = torch.tensor(starts) > 0  # what a slot holds ends with <act>
        opened = open_answers(packed, tokenizer)
        apart = opened - opened[first][sequence] + answering[sequence] > 0
        words = Words.join(packed, tokenizer.joined, first, apart)
        counts = torch.bincount(sequence[words.starts], minlength=len(fed))
        return counts.tolist(), self.model.backbone.embed_words(words.to(device), self._roles)
