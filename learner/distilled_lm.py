"""The real student: the small LM, its distiller, and what a version's steps gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from configs.schema import DistillationConfig, ModelConfig
from learner.distillation import Distiller, StepStatistics
from learner.errors import LearnerError
from learner.student import RoundStatistics
from model.making import make_lm
from model.saving import from_bytes, frozen_weights, to_bytes
from shared_memory.records import Trace
from tasks.rendering import Rendering

MODEL_FILE = "model.safetensors"
OPTIMISER_FILE = "optimiser.safetensors"


class DistilledLM:
    """A `Student`. Made from nothing, or to be restored; one torch thread is the caller's to set.

    While it is trained, its book carries the version that will be published next, so that a code
    that changes its meaning now is known to have done so in that version.
    """

    def __init__(
        self,
        model: ModelConfig,
        rendering: Rendering,
        distillation: DistillationConfig,
        seed: int,
        *,
        stream: int = 0,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        self.model = make_lm(
            model, rendering.vocabulary, rendering.interchangeable, rendering.names
        ).to(device)
        self.distiller = Distiller(self.model, distillation, seed, stream)
        self._window: list[StepStatistics] = []

    @property
    def parameters(self) -> int:
        """Trained numbers, codes included."""
        return self.model.parameter_count

    def step(self, traces: Sequence[Trace], share: range | None = None) -> Sequence[float]:
        """Take one distillation step; what share of each trace's decisions was right before it.

        `share`: see `Distiller.step`; the answers are of its traces.
        """
        self._window.append(self.distiller.step(traces, share))
        return self._window[-1].exact_of

    def round_statistics(self) -> RoundStatistics:
        """What the steps since the last call gave; begins a new window."""
        steps, book = self._window, self.model.book.statistics()
        self._window = []
        self.model.book.start_window()
        return RoundStatistics(
            steps=self.distiller.steps,
            loss=_mean([step.loss for step in steps]),
            commitment=_mean([step.commitment for step in steps]),
            learning_rate=steps[-1].learning_rate if steps else 0.0,
            gradient_norm=_mean([step.gradient_norm for step in steps]),
            tokens=sum(step.tokens for step in steps),
            seconds=sum(step.seconds for step in steps),
            codes=self.model.config.book.codes,
            codes_used=book.used,
            codes_dead=book.dead,
            codes_revived=book.revived,
            perplexity=book.perplexity,
            quantisation_error=book.quantisation_error,
            quantisation_error_new=book.quantisation_error_new,
            quantisation_error_old=book.quantisation_error_old,
        )

    def weights(self, version: int) -> bytes:
        """The model as actors load it (averaged weights), under this version.

        The next steps are for the next one.
        """
        payload = to_bytes(self.model, version, self.distiller.averages)
        self.model.book.version = version + 1
        return payload

    def files(self) -> Mapping[str, bytes]:
        """Model and optimisers (the window's statistics are not kept)."""
        version = self.model.book.version
        return {
            MODEL_FILE: to_bytes(self.model, max(0, version - 1)),
            OPTIMISER_FILE: self.distiller.state(),
        }

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint's files."""
        for name in (MODEL_FILE, OPTIMISER_FILE):
            if name not in files:
                raise LearnerError(f"the checkpoint has no {name}")
        self._load(files[MODEL_FILE])
        self.distiller.load_state(files[OPTIMISER_FILE])

    def adopt(self, payload: bytes, steps: int) -> None:
        """Go on from published weights that are newer than the checkpoint."""
        self.model.book.version = self._load(payload) + 1
        self.distiller.restart_averages()
        self.distiller.steps = max(self.distiller.steps, steps)

    def _load(self, payload: bytes) -> int:
        saved, version = from_bytes(payload)
        same = (
            saved.config == self.model.config
            and saved.tokenizer.vocabulary == self.model.tokenizer.vocabulary
        )
        if not same:
            raise LearnerError(
                "the saved model has another configuration or vocabulary than this run: "
                "resume with the configuration that it was made with, or start a new run"
            )
        frozen = frozen_weights(self.model)
        learned = {name: value for name, value in saved.state_dict().items() if name not in frozen}
        self.model.load_state_dict(learned, strict=not frozen)
        return version


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
