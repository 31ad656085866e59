"""A decoder layer of `transformers` at inference, on tokens without padding.

Small models spend as long in dispatching small operations as in computing; a layer of a known
shape is therefore run here with its projections joined and its norms as one operation each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from model.backbone import Backbone
from model.packing import Attend
from model.working_memory import MemoryRead

KNOWN_LAYERS = (LlamaDecoderLayer, Qwen2DecoderLayer)

WIDEST_JOINED = 1024
"""Above it computing dwarfs dispatching, and joined projections would be a second copy of a large
model's weights."""

Layer = Callable[[Tensor, Tensor, Attend], Tensor]
"""Hidden states (P, D), rotary (P or 1, 1, width / 2) complex, attention → (P, D)."""


def make_layers(backbone: Backbone) -> list[Layer]:
    """All layers, joined where they are of a known kind."""
    return [
        JoinedLayer(layer) if JoinedLayer.fits(layer) else PlainLayer(backbone, index)
        for index, layer in enumerate(backbone.transformer.layers)
    ]


class PlainLayer:
    """A layer as `transformers` runs it: of any kind, with adapters, in its own type."""

    def __init__(self, backbone: Backbone, index: int) -> None:
        self._backbone = backbone
        self._index = index

    def __call__(self, hidden: Tensor, rotary: Tensor, attend: Attend) -> Tensor:
        """(P, D) → (P, D)."""
        halves = torch.view_as_real(rotary[:, 0]).to(self._backbone.dtype)  # (P, width / 2, 2)
        cosine, sine = (torch.cat([half, half], -1)[None] for half in halves.unbind(-1))
        output: Tensor = self._backbone.layer(
            self._index, hidden[None], (cosine, sine), packing=attend
        )
        return output[0]


class JoinedLayer:
    """One layer with its weights as they were when it was made.

    Equal to the layer of `transformers` up to the order of float32 sums. Each head's dimensions i
    and i + width / 2, which rotary embedding turns together, stand side by side here, in queries
    and keys alike, so that turning them is one complex product.
    """

    def __init__(self, layer: Any) -> None:
        attention, feed_forward = layer.self_attn, layer.mlp
        self._width = attention.head_dim
        self._kv_heads = attention.k_proj.out_features // self._width
        self._norm, self._epsilon = layer.input_layernorm.weight, _epsilon(layer.input_layernorm)
        self._norm_after = layer.post_attention_layernorm.weight
        self._epsilon_after = _epsilon(layer.post_attention_layernorm)
        self._project, self._project_bias = _join(
            [attention.q_proj, attention.k_proj, attention.v_proj]
        )
        turned = attention.q_proj.out_features + attention.k_proj.out_features
        order = torch.arange(turned, device=self._project.device).view(-1, 2, self._width // 2)
        order = order.transpose(1, 2).reshape(-1)  # halves → pairs
        for joined in (self._project, self._project_bias):
            if joined is not None:
                joined[:turned] = joined[order]
        self._output, self._output_bias = attention.o_proj.weight, attention.o_proj.bias
        self._gate_up, self._gate_up_bias = _join([feed_forward.gate_proj, feed_forward.up_proj])
        self._down, self._down_bias = feed_forward.down_proj.weight, feed_forward.down_proj.bias
        self._activation = feed_forward.act_fn

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether this layer is of a kind that is known here, with plain projections."""
        if type(layer) not in KNOWN_LAYERS or layer.self_attn.config.hidden_size > WIDEST_JOINED:
            return False
        return all(
            type(module) is nn.Linear and module.weight.dtype == torch.float32
            for name, module in layer.named_modules()
            if name.endswith("_proj")
        )

    def __call__(self, hidden: Tensor, rotary: Tensor, attend: Attend) -> Tensor:
        """(P, D) → (P, D)."""
        P, D = hidden.shape
        normed = functional.rms_norm(hidden, (D,), self._norm, self._epsilon)
        joined = functional.linear(normed, self._project, self._project_bias)
        joined = joined.view(P, -1, self._width)  # (P, H + 2·H_kv, width)
        turned = rotate(joined[:, : -self._kv_heads], rotary)
        attended = attend(
            turned[:, : -self._kv_heads],
            turned[:, -self._kv_heads :],
            joined[:, -self._kv_heads :],
        )
        hidden = hidden + functional.linear(
            attended.reshape(P, -1), self._output, self._output_bias
        )
        normed = functional.rms_norm(hidden, (D,), self._norm_after, self._epsilon_after)
        gate, up = functional.linear(normed, self._gate_up, self._gate_up_bias).chunk(2, -1)
        product = self._activation(gate).mul_(up)
        return hidden + functional.linear(product, self._down, self._down_bias)


def rotate(heads: Tensor, rotary: Tensor) -> Tensor:
    """Turn pairs of (P, H, width) by complex (P or 1, 1, width / 2)."""
    pairs = torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotary).flatten(-2)


def rotary_table(cosine: Tensor, sine: Tensor) -> Tensor:
    """(places, width) of each, as `transformers` makes them → complex (places, 1, width / 2)."""
    half = cosine.shape[-1] // 2
    return torch.complex(cosine[:, :half].float(), sine[:, :half].float())[:, None]


class JoinedRead:
    """The reading of a procedure before a layer, for one token of each of S answers.

    Equal to `MemoryRead` up to the order of float32 sums.
    """

    def __init__(self, read: MemoryRead) -> None:
        self._read = read
        self._epsilon = read.norm.eps or torch.finfo(read.norm.weight.dtype).eps
        width = read.query.out_features // read.heads
        self._query = read.query.weight * width**-0.5
        self._output = read.output.weight * read.gate[:, None]

    def keys_values(self, procedures: Tensor) -> tuple[Tensor, Tensor]:
        """R (S, n, d) → keys (S, H, D / H, n) and values (S, H, n, D / H)."""
        keys, values = self._read.keys_values(procedures)
        return keys.transpose(2, 3).contiguous(), values.contiguous()

    def __call__(self, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(S, D) → (S, D) with what was read added."""
        S, D = hidden.shape
        normed = functional.rms_norm(hidden, (D,), self._read.norm.weight, self._epsilon)
        query = functional.linear(normed, self._query).view(S, -1, 1, values.shape[-1])
        weights = torch.softmax(query @ keys, -1)  # (S, H, 1, n)
        return torch.addmm(hidden, (weights @ values).view(S, D), self._output.T)


def _join(modules: list[Any]) -> tuple[Tensor, Tensor | None]:
    """Linear maps of one input as one."""
    weight = torch.cat([module.weight for module in modules])
    if all(module.bias is None for module in modules):
        return weight, None
    return weight, torch.cat(
        [
            module.weight.new_zeros(module.out_features) if module.bias is None else module.bias
            for module in modules
        ]
    )


def _epsilon(norm: Any) -> float:
    return float(norm.variance_epsilon)
