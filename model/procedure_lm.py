"""The small LM with working memory M and procedure-book C (NeSyPr, phase 1).

The layers below the memory read the whole sequence. At every decision they write M, once or at
several layers, which is cut into n chunks and quantised to the procedure R. The layers above see
nothing but the action's own tokens and R: what the answer knows of the task, the book let
through. So memory cannot be bypassed (ours; with the prompt visible above, a network trained from
nothing ignored R).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from configs.schema import ModelConfig
from model.batches import TraceBatch
from model.procedure_book import ProcedureBook, Quantised
from model.small_lm import Losses, SmallLM
from model.working_memory import MemoryRead, MemoryWrite


class ProcedureLM(SmallLM):
    """Below, memory, book, above."""

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: Sequence[str],
        interchangeable: Sequence[Sequence[str]] = (),
        names: Sequence[str] = (),
    ) -> None:
        super().__init__(config, vocabulary, interchangeable, names)
        config = self.config
        self.chunks = config.memory.slots * config.memory.width // config.book.width  # n
        self.memory_write = MemoryWrite(config)
        self.further_writes = nn.ModuleList(
            MemoryWrite(config, first=False) for _ in config.memory.also_written_at
        )
        self.book = ProcedureBook(config.book, self.chunks)
        self.memory_reads = nn.ModuleList(
            MemoryRead(config, self.chunks) for _ in self.backbone.above
        )

    @property
    def parameter_count(self) -> int:
        """Trained numbers, the book's K·d included."""
        return super().parameter_count + self.book.codes.numel()

    @property
    def writes(self) -> list[MemoryWrite]:
        """The writing of memory after each of `memory.written_at` layers; the first has M₀."""
        further = [write for write in self.further_writes if isinstance(write, MemoryWrite)]
        return [self.memory_write, *further]

    @property
    def reads(self) -> list[MemoryRead]:
        """The reading of each layer above the memory."""
        return [read for read in self.memory_reads if isinstance(read, MemoryRead)]

    def quantise(self, memory: Tensor) -> Quantised:
        """Cut M (S, N, D_m) into n chunks and replace each by its nearest code."""
        chunks = memory.reshape(len(memory), self.chunks, self.config.book.width)  # (S, n, d)
        quantised: Quantised = self.book(chunks)
        return quantised

    def forward(self, batch: TraceBatch) -> Losses:
        """One pass over B traces supervises their S decisions."""
        memory, _ = self.write_batch(batch)
        quantised = self.quantise(memory)
        hidden = self.answer_states(batch.inputs, quantised.procedure)  # (S, L, D)
        pull = self.config.book.commitment * quantised.commitment
        return self.losses(batch, hidden[batch.mask], pull, quantised.commitment)

    def write_batch(self, batch: TraceBatch) -> tuple[Tensor, Tensor]:
        """The memory M (S, N, D_m) of every decision, and the hidden states below (P, D)."""
        states = self.backbone.states_after(
            self.config.memory.written_at,
            self.backbone.embed_words(batch.words),
            batch.positions,
            batch.packing,
        )  # (P, D) each
        seen = batch.decisions.pad(batch.positions[batch.act])  # (B, decisions)
        places = torch.arange(batch.packing.longest, device=seen.device)
        mask = places <= seen[..., None]  # (B, decisions, T)
        memory: Tensor = self.memory_write.initial
        for write, hidden in zip(self.writes, states, strict=True):
            keys, values = write.keys_values(hidden)  # (P, D_m)
            memory = write(
                batch.decisions.pad(write.queries(hidden[batch.act])),
                batch.packing.pad(keys),
                batch.packing.pad(values),
                mask,
                memory,
            )  # (B, decisions, N, D_m)
        return batch.decisions.unpad(memory), states[-1]

    def answer(self, inputs: Tensor, procedure: Tensor) -> Tensor:
        """Logits (S, L, V) of an action's tokens given its first ones (S, L) and R (S, n, d)."""
        return self.backbone.logits(self.answer_states(inputs, procedure))

    def answer_states(self, inputs: Tensor, procedure: Tensor) -> Tensor:
        """The hidden states (S, L, D) above the memory that `answer` makes logits of."""
        hidden = self.backbone.embed(inputs)  # (S, L, D)
        positions = torch.arange(inputs.shape[1], device=inputs.device)[None]
        rotary = self.backbone.rotary(hidden, positions)
        for index, read in zip(self.backbone.above, self.reads, strict=True):
            keys, values = read.keys_values(procedure)
            hidden = self.backbone.layer(index, read(hidden, keys, values), rotary)
        return hidden
