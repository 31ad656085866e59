"""The decoder-only backbone from `transformers`, cut in two by the memory.

The layers below see the whole sequence; the layers above see an action's own tokens and what
they read from memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from configs.schema import ModelConfig
from model.batches import Words
from model.packing import PACKED_ATTENTION, Packing

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaModel),
    "qwen2": (Qwen2Config, Qwen2Model),
}


MOST_JOINED = 7
"""Words after a position's first that have a role of their own."""


class KeyValueCache:
    """Static keys and values of some layers for some slots, of which a few rows take part.

    Passed to the layers of `transformers` as their cache. Rows may stand at different positions:
    `positions` says where the tokens of the current call go. Writes past the last place land in a
    spare one that is never read.
    """

    def __init__(self, layers: range, slots: int, heads: int, places: int, width: int) -> None:
        shape = (len(layers), slots, places + 1, heads, width)
        self.keys = torch.zeros(shape)  # (layers, slots, places + 1, heads, width)
        self.values = torch.zeros(shape)
        self._first = layers.start
        self._rows: Tensor = torch.empty(0)
        self._positions: Tensor = torch.empty(0)
        self._seen = 0

    def take(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Choose rows (B,) and the positions (B, T) of the tokens that come next.

        Returns the attention mask (B, 1, T, places seen): a token sees all places up to its own.
        """
        spare = self.keys.shape[2] - 1
        self._rows, self._positions = rows, positions.clamp(max=spare)
        self._seen = min(int(positions.max()) + 1, spare)
        seen = torch.arange(self._seen)
        return (seen <= positions[..., None])[:, None]  # (B, 1, T, seen)

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Store (B, heads, T, width) of one layer; return all that its rows hold so far."""
        index = layer - self._first
        place = (self._rows[:, None], self._positions)
        self.keys[index][place] = key.transpose(1, 2)
        self.values[index][place] = value.transpose(1, 2)
        keys = self.keys[index][self._rows, : self._seen]  # (B, seen, heads, width)
        values = self.values[index][self._rows, : self._seen]
        return keys.transpose(1, 2), values.transpose(1, 2)


class Backbone(nn.Module):
    """A randomly initialised decoder with tied embeddings; widths from the configuration."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        make_config, make_model = ARCHITECTURES[config.architecture]
        self.transformer = make_model(
            make_config(
                vocab_size=vocabulary,
                hidden_size=config.width,
                intermediate_size=config.feed_forward,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=config.max_tokens,
                tie_word_embeddings=True,
                attn_implementation=PACKED_ATTENTION,
            )
        )
        nn.init.normal_(self.transformer.embed_tokens.weight, std=0.08)
        self.roles: nn.Parameter | None = None
        if config.positions == "atoms":
            roles = torch.empty(MOST_JOINED, config.width, config.width)
            for role in roles:
                nn.init.orthogonal_(role)
            self.roles = nn.Parameter(roles)
        self.below = range(config.memory.layer)
        self.above = range(config.memory.layer, config.layers)
        self.heads = config.heads
        self.head_width = config.width // config.heads

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, T) ids → (B, T, D)."""
        embedded: Tensor = self.transformer.embed_tokens(tokens)
        return embedded

    def embed_words(self, words: Words) -> Tensor:
        """(P, D): at each position the sum of its words' embeddings, turned by their roles (ours).

        So an atom is one position: what it says of which objects need not be gathered by attention.
        """
        table = self.transformer.embed_tokens.weight  # (V, D)
        if self.roles is None:
            embedded: Tensor = self.transformer.embed_tokens(words.tokens)
            return embedded
        turned = torch.cat([table[None], table @ self.roles])  # (roles, V, D)
        index = words.roles.clamp(max=MOST_JOINED) * len(table) + words.tokens  # (W,)
        return functional.embedding_bag(index, turned.flatten(0, 1), words.starts, mode="sum")

    def rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary position embeddings for positions (B or 1, T)."""
        cosine, sine = self.transformer.rotary_emb(hidden, positions)
        return cosine, sine

    def layer(
        self,
        index: int,
        hidden: Tensor,  # (B, T, D)
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None = None,  # (B, 1, T, S) bool; None: causal over the sequence itself
        cache: KeyValueCache | None = None,
        packing: Packing | None = None,  # of a (1, P, D)
    ) -> Tensor:
        """One decoder layer: (B, T, D) → (B, T, D)."""
        output = self.transformer.layers[index](
            hidden,
            attention_mask=mask,
            past_key_values=cache,
            position_embeddings=rotary,
            packing=packing,
        )
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result

    def run_below(
        self,
        hidden: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """The layers below the memory: embedded (B, T, D), or packed (1, P, D) → the same shape."""
        if positions is None:
            positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        rotary = self.rotary(hidden, positions)
        for index in self.below:
            hidden = self.layer(index, hidden, rotary, mask, cache, packing)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, V), with the embedding's own weights."""
        normed = self.transformer.norm(hidden)
        scores: Tensor = normed @ self.transformer.embed_tokens.weight.T
        return scores
