"""A plain causal LM, without working memory and procedure-book: an ablation (method, §5.2).

All layers read all of the text, and an answer's words are predicted where they stand in it, each
from all that stands before. So that they can be, an answer's words have positions of their own,
also where positions hold whole atoms, and also in the answers of earlier decisions: training and
decoding then read the very same sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.schema import ModelConfig
from model.batches import TraceBatch
from model.procedure_book import ProcedureBook
from model.small_lm import Losses, SmallLM


class PlainLM(SmallLM):
    """The backbone alone. Its book is never asked: its statistics are those of an unused one."""

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: Sequence[str],
        interchangeable: Sequence[Sequence[str]] = (),
        names: Sequence[str] = (),
    ) -> None:
        super().__init__(config, vocabulary, interchangeable, names)
        self.chunks = 0
        self.book = ProcedureBook(config.book.model_copy(update={"quantised": False}), 0)

    def forward(self, batch: TraceBatch) -> Losses:
        """One pass over B traces supervises their S decisions."""
        hidden = self.text_states(batch)  # (P, D)
        places = batch.act[:, None] + torch.arange(batch.mask.shape[1], device=hidden.device)
        none = hidden.new_zeros(())
        return self.losses(batch, hidden[places[batch.mask]], none, none)

    def text_states(self, batch: TraceBatch) -> Tensor:
        """The last hidden states (P, D) of all positions."""
        embedded = self.backbone.embed_words(batch.words)
        return self.backbone.run_below(embedded, batch.positions, batch.packing)
