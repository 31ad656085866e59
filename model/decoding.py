"""Batched incremental decoding with slots: episodes of different length enter and leave.

Below the memory each slot keeps its keys and values, of every layer and every write of memory:
only new tokens are ever fed, once a decision, together with its `<act>`. Above it a decision has
a cache of its own, as long as one action; contrastive decoding repeats only that, in the same
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from model.batches import Words
from model.choosing import GREEDY, Sampling, choose, restrict, token_trie, walk
from model.decoder_layer import JoinedRead, Layer, make_layers, rotary_table
from model.errors import ModelError
from model.procedure_lm import ProcedureLM
from model.slot_cache import SlotCache
from model.slot_texts import SlotTexts

KEPT_WHILE_LIVE = 0.8
"""Rows whose answers have ended are dropped once no more than this share goes on: dropping copies
what the others read."""

FEW_PLACES = 6
"""Up to so many, written-out attention of single tokens is faster than torch's own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The procedures of B decisions."""

    codes: npt.NDArray[np.uint16]  # (B, n)
    memory: Tensor  # (B, n, d) R; continuous where the book is not (yet) quantised


@dataclass(frozen=True, slots=True)
class Answer:
    """An action's tokens, without `<end>`, and how likely the LM finds them."""

    tokens: tuple[int, ...]
    log_probability: float


class DecodingEngine:
    """Slots for running episodes of one model. Not thread-safe; call under inference mode.

    For each episode: `enter` with its prompt; then for each decision `read`, `decode`, `feed`.
    The weights are taken as they are now: after training, make a new engine.
    """

    def __init__(self, model: ProcedureLM, slots: int, max_tokens: int) -> None:
        self.model = model.eval()
        self.max_tokens = max_tokens
        backbone, D_m = model.backbone, model.config.memory.width
        device = model.book.codes.device
        self._layers = make_layers(backbone)
        self._table = backbone.embed(torch.arange(len(model.tokenizer), device=device))  # (V, D)
        self._roles = backbone.role_table()  # (roles, V, D)
        places = torch.arange(max(max_tokens, model.tokenizer.longest_action), device=device)
        cosine, sine = backbone.rotary(self._table, places[None])
        self._rotary = rotary_table(cosine[0], sine[0])  # (places, 1, width / 2) complex
        self._below = SlotCache(
            len(backbone.below),
            slots,
            max_tokens,
            backbone.key_value_heads,
            backbone.head_width,
            self._table.to(backbone.dtype),
        )
        self._writes = model.writes
        self._memory_keys = self._table.new_zeros(len(self._writes), slots, max_tokens, D_m)
        self._memory_values = torch.zeros_like(self._memory_keys)
        self._texts = SlotTexts(model.tokenizer, slots, max_tokens)
        self._above = _Answers(
            model, self._layers[len(backbone.below) :], self._table, self._rotary
        )

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Start new episodes in these slots; prompts end before the first `<act>`."""
        self._texts.enter(slots, prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to each slot; the model sees them at the next `read`.

        Where a text begins anew (`Tokenizer.begin`) the slot forgets what it held.
        `ModelError` if a sequence would outgrow `max_tokens`.
        """
        self._texts.feed(slots, tokens)

    def read(self, slots: Sequence[int]) -> Reading:
        """Feed `<act>` and compute the procedure R of each slot's next decision."""
        slots = list(slots)
        decisions = self._run_below(slots)  # (B, D) at each write
        device = self._table.device
        lengths = torch.tensor([self._texts.lengths[slot] for slot in slots], device=device)
        T = max(self._texts.lengths[slot] for slot in slots)
        keys, values = self._memory_keys, self._memory_values
        if slots == list(range(len(slots))):  # a view suffices
            keys, values = keys[:, : len(slots), :T], values[:, : len(slots), :T]
        else:
            rows = torch.tensor(slots, device=device)
            keys, values = keys[:, rows, :T], values[:, rows, :T]
        seen = torch.arange(T, device=device) < lengths[:, None, None]  # (B, 1, T)
        memory: Tensor = self.model.memory_write.initial
        for number, write in enumerate(self._writes):
            queries = write.queries(decisions[number])[:, None]  # (B, 1, N, D_m)
            memory = write(queries, keys[number], values[number], seen, memory)
        quantised = self.model.quantise(memory[:, 0])  # of (B, N, D_m)
        return Reading(quantised.codes.cpu().numpy().astype(np.uint16), quantised.procedure)

    def _run_below(self, slots: list[int]) -> list[Tensor]:
        """Feed what waits, and `<act>`; at each write the hidden states (B, D) of `<act>`."""
        fed, starts = self._texts.take(slots)
        counts, hidden = self._embed(fed)
        growth = self._below.grow(slots, starts, counts)
        rotary = self._rotary.index_select(0, growth.positions)
        written_at = self.model.config.memory.written_at
        decisions: list[Tensor] = []
        for index in self.model.backbone.below:
            attend = partial(self._below.attend, index, growth)
            hidden = self._layers[index](hidden, rotary, attend)
            if index + 1 in written_at:
                number = len(decisions)
                kept = self._writes[number].keys_values(hidden)  # (P, D_m) each
                for cache, new in zip((self._memory_keys, self._memory_values), kept, strict=True):
                    cache[number].view(-1, new.shape[1]).index_copy_(0, growth.places, new)
                decisions.append(hidden[growth.last])
        self._texts.grow(slots, counts)
        return decisions

    def _embed(self, fed: Sequence[Sequence[int]]) -> tuple[list[int], Tensor]:
        """How many positions each sequence takes, and their embeddings (P, D), end to end."""
        device, joined = self._table.device, self.model.tokenizer.joined
        packed = torch.tensor([token for tokens in fed for token in tokens])  # (W,)
        lengths = torch.tensor([len(tokens) for tokens in fed])
        if not joined:
            return lengths.tolist(), functional.embedding(packed.to(device), self._table)
        words = Words.join(packed, joined, lengths.cumsum(0) - lengths)
        sequence = torch.repeat_interleave(torch.arange(len(fed)), lengths)
        counts = torch.bincount(sequence[words.starts], minlength=len(fed))
        return counts.tolist(), self.model.backbone.embed_words(words.to(device), self._roles)

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
        ended = [False] * B
        running = list(range(B))  # decisions whose answers have rows above, in this order
        self._above.start(procedures)
        against = contrasted  # the row of R⁺ that each row of R⁻ belongs to
        tokens = torch.full((len(procedures),), self.model.tokenizer.act, device=procedures.device)
        for _ in range(self.model.tokenizer.longest_action):
            scores = self._above.step(tokens)  # (R⁺ rows, then R⁻ rows; V)
            positive = scores[: len(running)]
            if nodes is not None:
                positive = restrict(positive, [nodes[decision] for decision in running])
            if against:
                negative = scores[len(running) :]
                positive[against] = contrastive_scores(positive[against], negative, alpha, gamma)
            tokens = self._choose(positive, running, sampling)
            live = []
            for row, token in enumerate(tokens.tolist()):
                decision = running[row]
                if token == end or ended[decision]:
                    ended[decision] = True
                    continue
                live.append(row)
                answers[decision].append(token)
                if nodes is not None:
                    nodes[decision] = nodes[decision][token]
            if not live:
                break
            if len(live) <= KEPT_WHILE_LIVE * len(running):
                tokens, running, against = self._drop_ended(tokens, running, against, live)
            if against:
                tokens = torch.cat([tokens, tokens[against]])
        return answers

    def likely(
        self,
        procedures: Tensor,
        width: int,
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> list[list[Answer]]:
        """Likely answers to each procedure of (B, n, d), best first: a beam search.

        `width` answers go on side by side, so that as many are returned (fewer where there are
        not so many). `allowed` leaves only its sequences, with the probabilities they have anyway.
        """
        B, end = len(procedures), self.model.tokenizer.end
        trees = None if allowed is None else [token_trie(answers, end) for answers in allowed]
        beams = [[Answer((), 0.0)] for _ in range(B)]
        ended: list[list[Answer]] = [[] for _ in range(B)]
        self._above.start(procedures.repeat_interleave(width, 0))
        self._above.keep(range(0, B * width, width))
        tokens = torch.full((B,), self.model.tokenizer.act, device=procedures.device)
        for _ in range(self.model.tokenizer.longest_action):
            scores = torch.log_softmax(self._above.step(tokens).float(), -1)  # (rows, V)
            if trees is not None:
                nodes = [
                    walk(tree, answer.tokens)
                    for tree, beam in zip(trees, beams, strict=True)
                    for answer in beam
                ]
                scores = restrict(scores, nodes)
            best, which = scores.topk(min(width, scores.shape[1]))
            steps = list(zip(best.tolist(), which.tolist(), strict=True))
            rows: list[int] = []
            follow: list[int] = []
            first = 0
            for decision, beam in enumerate(beams):
                grown = [
                    (answer.log_probability + more, first + place, token)
                    for place, answer in enumerate(beam)
                    for more, token in zip(*steps[first + place], strict=True)
                    if more > float("-inf")
                ]
                first += len(beam)
                grown = sorted(grown, key=lambda one: -one[0])[:width]
                if len(ended[decision]) >= width:  # what is worse than all these cannot be wanted
                    least = sorted(one.log_probability for one in ended[decision])[-width]
                    grown = [one for one in grown if one[0] > least]
                start = first - len(beam)
                answers = [beam[row - start].tokens for _, row, _ in grown]
                beams[decision] = []
                for (total, row, token), before in zip(grown, answers, strict=True):
                    if token == end:
                        ended[decision].append(Answer(before, total))
                    else:
                        beams[decision].append(Answer((*before, token), total))
                        rows.append(row)
                        follow.append(token)
            if not rows:
                break
            self._above.keep(rows)
            tokens = torch.tensor(follow, device=procedures.device)
        return [
            sorted(found + rest, key=lambda answer: -answer.log_probability)[:width]
            for found, rest in zip(ended, beams, strict=True)
        ]

    def _choose(self, scores: Tensor, running: Sequence[int], sampling: Sampling) -> Tensor:
        """The next token of each of the `running` decisions, from scores (rows, V)."""
        del running
        return choose(scores, sampling)

    def _drop_ended(
        self, tokens: Tensor, running: list[int], against: list[int], live: list[int]
    ) -> tuple[Tensor, list[int], list[int]]:
        """Go on with the live rows only."""
        place = {row: new for new, row in enumerate(live)}
        kept = [number for number, row in enumerate(against) if row in place]
        self._above.keep([*live, *(len(running) + number for number in kept)])
        running = [running[row] for row in live]
        return tokens[live], running, [place[against[number]] for number in kept]


def contrastive_scores(positive: Tensor, negative: Tensor, alpha: float, gamma: float) -> Tensor:
    """(1+α)·log p⁺ - α·log p⁻ where p⁺ ≥ γ·max p⁺, else -∞; all (B, V) (arXiv:2210.15097).

    Logits will do for log-probabilities: each row is then right up to a constant.
    """
    plausible = positive >= positive.amax(-1, keepdim=True) + float(np.log(max(gamma, 1e-30)))
    scores = (1 + alpha) * positive - alpha * negative
    return scores.masked_fill(~plausible, float("-inf"))


class _Answers:
    """The layers above the memory, one token of each of S answers at a time."""

    def __init__(
        self, model: ProcedureLM, layers: Sequence[Layer], table: Tensor, rotary: Tensor
    ) -> None:
        self._model = model
        self._table = table
        self._layers = layers
        self._rotary = rotary
        self._reads = [JoinedRead(read) for read in model.reads]
        self._read: list[tuple[Tensor, Tensor]] = []
        self._keys = self._values = torch.empty(0)
        self._rows = self._position = 0

    def start(self, procedures: Tensor) -> None:
        """New answers for procedures (S, n, d)."""
        self._read = [read.keys_values(procedures) for read in self._reads]
        self._rows, self._position = len(procedures), 0
        if self._keys.numel() == 0 or self._keys.shape[1] < self._rows:
            backbone = self._model.backbone
            self._keys = torch.zeros(
                len(self._layers),
                self._rows,
                backbone.key_value_heads,
                self._model.tokenizer.longest_action,
                backbone.head_width,
                dtype=backbone.dtype,
                device=procedures.device,
            )
            self._values = torch.zeros_like(self._keys)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the answers."""
        index = torch.tensor(rows, device=self._keys.device)
        self._read = [(keys[index], values[index]) for keys, values in self._read]
        for cache in (self._keys, self._values):
            cache[:, : len(rows), :, : self._position] = cache[:, index, :, : self._position]
        self._rows = len(rows)

    def step(self, tokens: Tensor) -> Tensor:
        """Logits (S, V) of the next token after (S,)."""
        hidden = functional.embedding(tokens, self._table)  # (S, D)
        rotary = self._rotary[self._position : self._position + 1]
        for index, read in enumerate(self._reads):
            hidden = read(hidden, *self._read[index])
            hidden = self._layers[index](hidden, rotary, partial(self._attend, index))
        self._position += 1
        return self._model.backbone.logits(hidden)

    def _attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All answers stand at the same position, so that no mask is needed."""
        S, H, _ = query.shape
        keys, values = self._keys[layer, :S], self._values[layer, :S]
        keys[:, :, self._position], values[:, :, self._position] = key, value
        if self._position == 0:  # a lone token sees itself
            return value if key.shape[1] == H else value.repeat_interleave(H // key.shape[1], 1)
        seen = self._position + 1
        if seen <= FEW_PLACES and key.shape[1] == H:
            products = (query[:, :, None] * keys[:, :, :seen]).sum(-1, keepdim=True)
            weights = torch.softmax(products * query.shape[-1] ** -0.5, 2)  # (S, H, seen, 1)
            return (weights * values[:, :, :seen]).sum(2)
        return functional.scaled_dot_product_attention(
            query[:, :, None],
            keys[:, :, :seen],
            values[:, :, :seen],
            enable_gqa=key.shape[1] != H,
        )[:, :, 0]
