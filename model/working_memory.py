"""Working memory: N slots, written at one or several layers, read above (NeSyPr; LM2's gates).

Written anew for each decision from all tokens up to its `<act>`, so that one pass over a trace
supervises every decision of it, and no answer leaks into the memory that serves it (ours).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import ModelConfig


class MemoryWrite(nn.Module):
    """E = CrossAttn(query, key=value=H); M = g_in ⊙ tanh(E) + g_forget ⊙ M₀.

    The query is M₀'s own plus a projection of the decision's hidden state (ours): with M₀ alone
    all decisions of a trace would ask for the same. A write at a higher layer has the memory of
    the write below in place of M₀, as LM2 hands memory from layer to layer; its query is still
    one of its own plus a projection of that layer's hidden state (ours: LM2 asks with M itself).
    """

    initial: nn.Parameter  # M₀ (N, D_m), of the first write only

    def __init__(self, config: ModelConfig, first: bool = True) -> None:
        super().__init__()
        D, N, D_m = config.width, config.memory.slots, config.memory.width
        self.slots, self.width, self.heads = N, D_m, config.memory.heads
        if first:
            self.initial = nn.Parameter(torch.randn(N, D_m) * 0.5)
        self.query_bias = nn.Parameter(torch.randn(N, D_m) * 0.1)
        self.norm = nn.RMSNorm(D)
        self.query = nn.Linear(D, N * D_m, bias=False)
        self.key = nn.Linear(D, D_m, bias=False)
        self.value = nn.Linear(D, D_m, bias=False)
        self.output = nn.Linear(D_m, D_m, bias=False)
        self.gate_in = nn.Linear(D_m, D_m)
        self.gate_forget = nn.Linear(D_m, D_m)
        nn.init.constant_(self.gate_in.bias, 1.0)

    def keys_values(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) → keys and values, each (B, T, D_m)."""
        normed = self.norm(hidden)
        return self.key(normed), self.value(normed)

    def queries(self, decision: Tensor) -> Tensor:
        """The hidden states (S, D) of decisions' `<act>` → what their slots ask (S, N, D_m)."""
        asked = self.query(self.norm(decision)).view(-1, self.slots, self.width)
        result: Tensor = self.query_bias + asked
        return result

    def forward(
        self,
        queries: Tensor,  # (B, Q, N, D_m) of Q decisions in each of B sequences
        keys: Tensor,  # (B, T, D_m)
        values: Tensor,  # (B, T, D_m)
        mask: Tensor,  # (B, Q, T) bool: tokens up to the <act>; at least one
        before: Tensor,  # M₀ (N, D_m), or what the write below made (B, Q, N, D_m)
    ) -> Tensor:
        """The memory M of each decision: (B, Q, N, D_m)."""
        B, T, _ = keys.shape
        H, width = self.heads, self.width // self.heads
        Q = queries.shape[1]
        attended = functional.scaled_dot_product_attention(
            queries.view(B, Q * self.slots, H, width).transpose(1, 2),  # (B, H, Q·N, width)
            keys.view(B, T, H, width).transpose(1, 2),
            values.view(B, T, H, width).transpose(1, 2),
            attn_mask=mask[:, None].repeat_interleave(self.slots, dim=2),  # (B, 1, Q·N, T)
        )
        E = self.output(attended.transpose(1, 2).reshape(queries.shape))  # (B, Q, N, D_m)
        g_in, g_forget = torch.sigmoid(self.gate_in(E)), torch.sigmoid(self.gate_forget(E))
        memory: Tensor = g_in * torch.tanh(E) + g_forget * before
        return memory


class MemoryRead(nn.Module):
    """H' = H + g_out ⊙ CrossAttn(query=H, key=value=R), before each layer above the memory.

    Each of the n chunks has a value projection of its own (ours): a chunk's place says what its
    code speaks of, and learning was much faster than with one projection for all.
    """

    def __init__(self, config: ModelConfig, chunks: int) -> None:
        super().__init__()
        D, d = config.width, config.book.width
        self.heads = config.heads
        self.norm = nn.RMSNorm(D)
        self.query = nn.Linear(D, D, bias=False)
        self.key = nn.Linear(d, D, bias=False)
        self.key_bias = nn.Parameter(torch.randn(chunks, D) * 0.3)
        self.value = nn.Parameter(torch.randn(chunks, d, D) * (chunks * d) ** -0.5)
        self.value_scale = d**0.5  # lets these many small matrices move as fast as a single one
        self.output = nn.Linear(D, D, bias=False)
        self.gate = nn.Parameter(torch.ones(D))

    def keys_values(self, procedure: Tensor) -> tuple[Tensor, Tensor]:
        """R (S, n, d) → keys and values, each (S, H, n, D / H)."""
        S, n, _ = procedure.shape
        keys = self.key(procedure) + self.key_bias  # (S, n, D)
        values = torch.einsum("snd,nde->sne", procedure, self.value * self.value_scale)
        keys = keys.view(S, n, self.heads, -1).transpose(1, 2)
        return keys, values.view(S, n, self.heads, -1).transpose(1, 2)

    def forward(self, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(S, L, D) → (S, L, D) with what was read added."""
        S, L, D = hidden.shape
        query = self.query(self.norm(hidden)).view(S, L, self.heads, -1).transpose(1, 2)
        read = functional.scaled_dot_product_attention(query, keys, values)  # (S, H, L, D / H)
        result: Tensor = hidden + self.gate * self.output(read.transpose(1, 2).reshape(S, L, D))
        return result
