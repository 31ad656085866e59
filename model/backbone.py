"""The decoder-only backbone from `transformers`, cut in two by the memory.

The layers below see the whole sequence; the layers above see an action's own tokens and what
they read from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from configs.schema import ModelConfig
from model.batches import Words
from model.packing import PACKED_ATTENTION, Attend, Packing
from model.pretrained import build
from model.tokenizer import SubwordTokenizer, Tokenizer

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaModel),
    "qwen2": (Qwen2Config, Qwen2Model),
}


MOST_JOINED = 7
"""Words after a position's first that have a role of their own."""


class Backbone(nn.Module):
    """A decoder made from nothing, with tied embeddings, or a pretrained one.

    Hidden states are float32 between layers, so that memory and book never meet bfloat16; a
    pretrained model's layers compute in its own type.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.digest = ""  # of the pretrained model
        self.head: nn.Parameter | None = None
        self.specials: nn.Parameter | None = None
        self.head_specials: nn.Parameter | None = None
        self.roles: nn.Parameter | None = None  # (MOST_JOINED, D, D)
        if isinstance(tokenizer, SubwordTokenizer):
            self._build_from_pretrained(config, tokenizer)
        else:
            self._build_from_nothing(config, len(tokenizer))
        theirs = self.transformer.config
        reading = config.layers if config.memory.use == "none" else config.memory.layer
        self.below = range(reading)
        self.above = range(reading, config.layers)
        self.heads = theirs.num_attention_heads
        self.key_value_heads = theirs.num_key_value_heads
        self.head_width = getattr(theirs, "head_dim", None) or config.width // config.heads
        self.dtype = self.transformer.norm.weight.dtype

    def _build_from_nothing(self, config: ModelConfig, vocabulary: int) -> None:
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
        if config.positions == "atoms":
            roles = torch.empty(MOST_JOINED, config.width, config.width)
            for role in roles:
                nn.init.orthogonal_(role)
            self.roles = nn.Parameter(roles)

    def _build_from_pretrained(self, config: ModelConfig, tokenizer: SubwordTokenizer) -> None:
        """Words such as <act> get rows of their own, trained whatever the tuning (ours)."""
        self.transformer, base = build(config, tokenizer)
        full = config.tuning == "full"
        rows, width = base.embeddings.shape
        table = nn.Embedding(rows, width, _weight=base.embeddings.clone())
        self.transformer.embed_tokens = table.requires_grad_(full)
        self.specials = _around(base.specials, base.embeddings)
        if base.head is not None and base.head_specials is not None:
            self.head = nn.Parameter(base.head.clone(), requires_grad=full)
            self.head_specials = _around(base.head_specials, base.head)
        self.digest = base.digest

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, T) ids → (B, T, D) in float32."""
        table: Tensor = self.transformer.embed_tokens.weight
        if self.specials is not None:
            table = torch.cat([table.float(), self.specials])
        return functional.embedding(tokens, table)

    def embed_words(self, words: Words, table: Tensor | None = None) -> Tensor:
        """(P, D): at each position the sum of its words' embeddings, turned by their roles (ours).

        So an atom is one position: attention need not gather what is said of which objects.
        `table` is what `role_table` returned, where weights stay the same.
        """
        if self.roles is None:
            return self.embed(words.tokens)
        table = self.role_table() if table is None else table  # (roles, V, D)
        index = words.roles.clamp(max=MOST_JOINED) * table.shape[1] + words.tokens  # (W,)
        return functional.embedding_bag(index, table.flatten(0, 1), words.starts, mode="sum")

    def role_table(self) -> Tensor:
        """Every word's embedding in every role: (1 + MOST_JOINED, V, D), or (1, V, D)."""
        table: Tensor = self.transformer.embed_tokens.weight
        if self.roles is None:
            return self.embed(torch.arange(len(table), device=table.device))[None]
        return torch.cat([table[None], table @ self.roles])

    def rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary position embeddings for positions (B or 1, T)."""
        cosine, sine = self.transformer.rotary_emb(hidden.to(self.dtype), positions)
        return cosine, sine

    def layer(
        self,
        index: int,
        hidden: Tensor,  # (B, T, D)
        rotary: tuple[Tensor, Tensor],
        packing: Packing | Attend | None = None,  # of a (1, P, D); none: causal in each row
    ) -> Tensor:
        """One decoder layer: (B, T, D) → (B, T, D)."""
        output = self.transformer.layers[index](
            hidden.to(self.dtype),
            attention_mask=None,
            position_embeddings=rotary,
            packing=packing,
        )
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result.float()

    def run_below(self, embedded: Tensor, positions: Tensor, packing: Packing) -> Tensor:
        """The layers below the memory (or all), on packed sequences: (P, D) → (P, D)."""
        return self.states_after((len(self.below),), embedded, positions, packing)[0]

    def states_after(
        self, layers: Sequence[int], embedded: Tensor, positions: Tensor, packing: Packing
    ) -> list[Tensor]:
        """The hidden states (P, D) after so many layers, for each of `layers`, rising."""
        hidden = embedded[None]
        rotary = self.rotary(hidden, positions[None])
        states = []
        for index in range(layers[-1]):
            hidden = self.layer(index, hidden, rotary, packing)
            if index + 1 in layers:
                states.append(hidden[0])
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, V) in float32; with the embeddings' own weights where they are tied."""
        normed = self.transformer.norm(hidden)
        rows = self.transformer.embed_tokens.weight if self.head is None else self.head
        special = self.specials if self.head is None else self.head_specials
        if special is not None:
            rows = torch.cat([rows.float(), special])
        scores: Tensor = normed @ rows.T
        return scores


def _around(rows: Tensor, table: Tensor) -> nn.Parameter:
    """Trainable rows near the given ones, apart by a tenth of the table's spread."""
    apart = torch.randn_like(rows) * (0.1 * table.float().std())
    return nn.Parameter(rows + apart)
