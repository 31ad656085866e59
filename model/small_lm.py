"""What every small LM is: a backbone over a vocabulary, trained to name the next action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from configs.schema import ModelConfig
from model.backbone import Backbone
from model.batches import TraceBatch
from model.pretrained import make_tokenizer, resolved
from model.procedure_book import ProcedureBook


@dataclass(frozen=True, slots=True)
class Losses:
    """What a training pass returns; `total` is the one to differentiate."""

    total: Tensor  # () cross-entropy + β · commitment
    pull: Tensor  # () β · commitment alone: a mean over decisions, not over answer tokens
    cross_entropy: Tensor  # () mean over answer tokens
    commitment: Tensor  # ()
    right: Tensor  # (S,) bool: decisions whose every token was the most likely one


class SmallLM(nn.Module):
    """Made from a configuration and a vocabulary; called with a `TraceBatch` it returns `Losses`.

    `interchangeable` are groups of words that may be exchanged without changing what a text
    means; `names` are the words for objects.
    """

    book: ProcedureBook
    chunks: int  # n

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: Sequence[str],
        interchangeable: Sequence[Sequence[str]] = (),
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        config = resolved(config)
        self.config = config
        self.names = tuple(names)
        self.tokenizer = make_tokenizer(config, vocabulary, self.names)
        self.interchangeable = tuple(tuple(group) for group in interchangeable)
        self.backbone = Backbone(config, self.tokenizer)

    @property
    def parameter_count(self) -> int:
        """Trained numbers."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)

    def losses(self, batch: TraceBatch, hidden: Tensor, pull: Tensor, commitment: Tensor) -> Losses:
        """From the last hidden states of all answer tokens, (answer tokens, D)."""
        logits = self.backbone.logits(hidden)  # (answer tokens, V)
        targets = batch.targets[batch.mask]
        cross_entropy = functional.cross_entropy(logits, targets)
        right = ~batch.mask  # (S, L)
        right[batch.mask] = logits.detach().argmax(-1) == targets
        return Losses(
            cross_entropy + pull,
            pull,
            cross_entropy.detach(),
            commitment.detach(),
            right.all(1),
        )
