"""Distilling traces into the small LM: one optimisation step, without Ray and without Redis.

    distiller = Distiller(model, config, seed=0)
    statistics = distiller.step(traces)

Matrices move by Muon, the rest by AdamW: from nothing, in the same seconds, Muon reached 1.3 to
1.5 times lower loss than AdamW alone (docs/log.md). Interchangeable names are permuted in every
trace of every batch, so that what is learned does not hang on names.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from configs.schema import DistillationConfig
from learner.errors import LearnerError
from learner.muon import Muon
from model.batches import EncodedTrace, TraceBatch, collate
from model.peers import peer_count, sum_over_peers
from model.small_lm import Losses, SmallLM
from shared_memory.records import Trace

CLIP = 1.0
"""Largest norm of the gradient."""

DECAY_FROM = 0.6
"""Share of `total_steps` after which the learning rate falls."""

LAST_RATE = 0.05
"""Share of the learning rate that remains after `total_steps`."""

RANDOM_STATE = "random state"


@dataclass(frozen=True, slots=True)
class StepStatistics:
    """What one distillation step saw and did, in all processes that distil together."""

    step: int
    loss: float  # cross-entropy a token, nats
    commitment: float
    exact: float  # share of decisions answered exactly, teacher-forced
    exact_of: tuple[float, ...]  # the same, for each trace of this process
    gradient_norm: float
    learning_rate: float
    tokens: int  # read, padding left out
    decisions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Read:
    """What all processes read in a step."""

    cross_entropy: float
    commitment: float
    exact: float
    tokens: int
    decisions: int


class Distiller:
    """The optimisers of one model, with a random stream of their own.

    The same model, configuration, seed and traces give the same weights. Processes that distil
    together have one stream where they share a batch out, and each its own (`stream`) where each
    draws batches for itself.
    """

    def __init__(
        self, model: SmallLM, config: DistillationConfig, seed: int, stream: int = 0
    ) -> None:
        self.model = model
        self.config = config
        self.steps = 0
        self._phase = 0  # the newest of which a trace was seen
        self._random = np.random.Generator(np.random.PCG64([seed, 0xD15711, stream]))
        model.book.generator.manual_seed(seed)
        self._groups = [np.array(group) for group in model.interchangeable]
        self._optimisers = _optimisers(model, config)
        self._weights = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._device = model.book.codes.device
        self._averages = {  # in float32: small steps would be lost in bfloat16
            name: weight.detach().float().clone() for name, weight in self._weights.items()
        }

    @property
    def averages(self) -> Mapping[str, Tensor]:
        """The moving averages of the weights, by name: what is published.

        They act as if the learning rate had been annealed, at every moment (Polyak averaging;
        CSR after 841 steps was 44 % with them and 32 % without, docs/log.md).
        """
        return self._averages

    def step(self, traces: Sequence[Trace], share: range | None = None) -> StepStatistics:
        """Take one step on a batch of traces (at least one); `ModelError` on an unknown word.

        `share`: this process's places of the batch, where several processes have it; else all.
        """
        began = time.perf_counter()
        self.model.train()
        share = range(len(traces)) if share is None else share
        batch = self.batch(traces, share).to(self._device)
        rate = self._rate()
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        self.model.book.old = self._old_decisions(traces, share, batch)
        losses = self.model(batch)
        answers, decisions = self._shares(batch)
        (losses.total * answers + losses.pull * (decisions - answers)).backward()
        self._share_gradients()
        read = self._read(losses, batch, answers, decisions)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP))
        if not math.isfinite(norm):
            raise LearnerError(
                f"the gradient is not finite at step {self.steps}: lower "
                "distillation.learning_rate and resume from the last checkpoint"
            )
        for optimiser in self._optimisers:
            optimiser.step()
        self.steps += 1
        self._average()
        return StepStatistics(
            self.steps,
            read.cross_entropy,
            read.commitment,
            read.exact,
            tuple(
                float(right.float().mean())
                for right in torch.split(losses.right, batch.of_trace.tolist())
            ),
            norm,
            rate,
            read.tokens,
            read.decisions,
            time.perf_counter() - began,
        )

    def batch(self, traces: Sequence[Trace], share: range | None = None) -> TraceBatch:
        """Traces as tensors, their interchangeable names permuted if the configuration says so.

        Random draws are made for all traces, whoever's share they are, and so are the same.
        """
        renamings = [self._renaming() if self.config.rename else {} for _ in traces]
        kept = [self._some_decisions(len(trace.actions)) for trace in traces]
        tokenizer, encoded = self.model.tokenizer, []
        for place in range(len(traces)) if share is None else share:
            trace, some = traces[place], kept[place]
            whole = EncodedTrace.encode(
                tokenizer, trace.prompt, trace.observations, trace.actions, renamings[place]
            )
            encoded.append(whole if some is None else whole.keep(some, tokenizer.begin))
        return collate(encoded, tokenizer)

    def _some_decisions(self, count: int) -> list[int] | None:
        """At most `decisions` of a trace's decisions, drawn at random; None: all of them."""
        most = self.config.decisions
        if most == 0 or count <= most:
            return None
        return [int(number) for number in np.sort(self._random.choice(count, most, replace=False))]

    def state(self) -> bytes:
        """Optimisers, step counter and random streams, as a safetensors payload."""
        tensors = {
            f"{number}/{index}/{key}": value
            for number, optimiser in enumerate(self._optimisers)
            for index, values in optimiser.state_dict()["state"].items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
        tensors |= {f"average/{name}": average for name, average in self._averages.items()}
        tensors[RANDOM_STATE] = self.model.book.generator.get_state()
        metadata = {
            "steps": str(self.steps),
            "random": json.dumps(self._random.bit_generator.state),
            "version": str(self.model.book.version),
            "phase": str(self._phase),
        }
        return save_tensors(tensors, metadata)

    def load_state(self, payload: bytes) -> None:
        """Go on from what `state` returned."""
        try:
            length = int.from_bytes(payload[:8], "little")
            metadata = json.loads(payload[8 : 8 + length])["__metadata__"]
            tensors = load_tensors(payload)
            self.model.book.generator.set_state(tensors.pop(RANDOM_STATE))
            states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimisers]
            for name, tensor in tensors.items():
                if name.startswith("average/"):
                    self._averages[name.removeprefix("average/")].copy_(tensor)
                    continue
                number, index, key = name.split("/")
                states[int(number)].setdefault(int(index), {})[key] = tensor
            for optimiser, state in zip(self._optimisers, states, strict=True):
                groups = optimiser.state_dict()["param_groups"]
                optimiser.load_state_dict({"state": state, "param_groups": groups})
            self._random.bit_generator.state = json.loads(metadata["random"])
            self.model.book.version = int(metadata["version"])
            self.steps = int(metadata["steps"])
            self._phase = int(metadata.get("phase", 0))
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise LearnerError(f"the optimisers' state is damaged: {error}") from error

    def restart_averages(self) -> None:
        """Take the model's present weights as their averages, after others were loaded."""
        for name, weight in self._weights.items():
            self._averages[name].copy_(weight.detach())

    def _old_decisions(self, traces: Sequence[Trace], share: range, batch: TraceBatch) -> Tensor:
        """(S,) bool: which of the share's decisions are of phases before the newest one."""
        self._phase = max(self._phase, *(trace.phase for trace in traces))
        old = [traces[place].phase < self._phase for place in share]
        return torch.repeat_interleave(torch.tensor(old, device=self._device), batch.of_trace)

    @torch.no_grad()
    def _average(self) -> None:
        """Follow the weights; at first quickly, so that the untrained ones are soon forgotten."""
        decay = min(self.config.averaging, (1 + self.steps) / (10 + self.steps))
        for name, weight in self._weights.items():
            self._averages[name].lerp_(weight.float(), 1 - decay)

    @staticmethod
    def _shares(batch: TraceBatch) -> tuple[float, float]:
        """This process's share of all processes' answer tokens, and of their decisions."""
        if peer_count() == 1:
            return 1.0, 1.0
        mine = torch.tensor([float(batch.mask.sum()), float(batch.decision_count)])
        (total,) = sum_over_peers(mine)
        answers, decisions = (mine / total).tolist()
        return answers, decisions

    @staticmethod
    def _read(losses: Losses, batch: TraceBatch, answers: float, decisions: float) -> _Read:
        """Means and sums over the batches of all processes, from their shares of them."""
        mine = torch.tensor(
            [
                float(losses.cross_entropy) * answers,
                float(losses.commitment) * decisions,
                float(losses.right.float().mean()) * decisions,
                batch.token_count,
                batch.decision_count,
            ],
            dtype=torch.float64,
        )
        (total,) = sum_over_peers(mine)
        cross_entropy, commitment, exact, tokens, count = total.tolist()
        return _Read(cross_entropy, commitment, exact, round(tokens), round(count))

    def _share_gradients(self) -> None:
        """Sum the gradients of all processes."""
        if peer_count() == 1:
            return
        gradients = []
        for weight in self._weights.values():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
        for gradient, total in zip(gradients, sum_over_peers(*gradients), strict=True):
            gradient.copy_(total)

    def _renaming(self) -> dict[str, str]:
        """A permutation of every group of interchangeable names."""
        renaming: dict[str, str] = {}
        for group in self._groups:
            renaming |= zip(group.tolist(), self._random.permutation(group).tolist(), strict=True)
        return renaming

    def _rate(self) -> float:
        """Linear warm-up, a plateau, then linear decay to `LAST_RATE` of it, which then stays.

        The plateau gives early and late phases of a stream the same rate.
        """
        warm = min(1.0, (self.steps + 1) / max(1, self.config.warmup_steps))
        done = self.steps / self.config.total_steps
        left = min(1.0, max(0.0, (1 - done) / (1 - DECAY_FROM)))
        return self.config.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * left)


def _optimisers(model: SmallLM, config: DistillationConfig) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (if chosen), AdamW for all else."""
    matrices = list(_matrices(model)) if config.optimiser == "muon" else []
    chosen = {id(weight) for weight in matrices}
    others = [
        weight for weight in model.parameters() if weight.requires_grad and id(weight) not in chosen
    ]
    rate, decay = config.learning_rate, config.weight_decay
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=decay)
    ]
    if matrices:
        made.append(Muon(matrices, lr=rate, weight_decay=decay))
    return made


def _matrices(model: SmallLM) -> Iterator[Tensor]:
    """Weights of linear maps: embeddings, M₀ and biases of slots are tables, not maps."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad:
            yield module.weight
    if model.backbone.roles is not None:
        yield model.backbone.roles
