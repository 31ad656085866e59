"""`nesypr bench distil`: tokens/s of a distillation step against a bare backbone's training step.

Both learn the same texts: planners' plans for tasks of Blocks, Gripper, Ferry and Hanoi, each one
growing sequence with all its decisions, in the same batches and from the same random weights.
Tokens are those of the texts, padding left out, so that the ratio of tokens/s is that of the
times of a step on the same batch.

- The distiller's step is all that training does for each batch: it encodes the words and permutes
  names, packs, runs the layers below once over the texts, writes and quantises the memory of every
  decision, moves the codes, runs the layers above over the answers, back through all of it, clips,
  steps both optimisers and follows the averaged weights.
- The bare backbone is a causal LM of `transformers` with all layers over the whole text, without
  memory and book: forward, backward, clip, and the same optimisers, Muon for its layers' matrices
  and AdamW for the rest. It gets what a competent user gives it: tokens and labels (-100 but on
  answer tokens) padded to the batch's longest beforehand, and no attention mask, since padding at
  the end is seen by no token, so that attention takes its fast path. It gets no packing.

`ratio_atoms` is the same for `positions: atoms`, where the distiller reads the same texts at fewer
positions; the rival still reads words. `bfloat16` is how much faster the distiller's own step is
under autocast to bfloat16, by the model's width; all else is float32. One torch thread. Steps are
timed in turn on the same batch, in CPU seconds of the process, which other work on the machine
changes little; a ratio is the median over batches and runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from cluster.bench_setting import make_rendering, make_stream, plain_model
from configs.schema import DistillationConfig, ModelConfig
from learner.distillation import CLIP, Distiller
from learner.muon import Muon
from learner.planners import MimirPlanner, PlanLimits
from learner.traces import teach
from model.batches import EncodedTrace
from model.procedure_lm import ProcedureLM
from model.tokenizer import Tokenizer
from shared_memory.records import Trace
from tasks.domains import get_pddl_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream

RUNS = 5
BATCHES = 4
BATCH = 32
CONFIG = DistillationConfig(optimiser="muon", batch_traces=BATCH)
Positions = Literal["words", "atoms"]
POSITIONS: tuple[Positions, Positions] = ("words", "atoms")
WIDTHS = (64, 128, 256)
"""Model widths at which bfloat16 is tried."""
IGNORED = -100
"""The label of tokens that the loss leaves out."""


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch for the bare backbone."""

    tokens: Tensor  # (B, T) padded at the end
    labels: Tensor  # (B, T) the token where it belongs to an answer, else IGNORED
    count: int  # tokens that are no padding


class PlainTraining:
    """Training steps of the bare backbone."""

    def __init__(self, model: LlamaForCausalLM, config: DistillationConfig) -> None:
        self._model = model.train()
        tied = model.get_input_embeddings().weight
        matrices = [
            module.weight
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module.weight is not tied
        ]
        chosen = {id(weight) for weight in matrices}
        others = [weight for weight in model.parameters() if id(weight) not in chosen]
        rate, decay = config.learning_rate, config.weight_decay
        self._optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=decay),
            Muon(matrices, lr=rate, weight_decay=decay),
        ]

    def step(self, batch: Padded) -> float:
        """Take one step; the loss."""
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss = self._model(input_ids=batch.tokens, labels=batch.labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
        for optimiser in self._optimisers:
            optimiser.step()
        return float(loss.detach())


def bench_distil() -> dict[str, Any]:
    """Measure both, with words and with atoms at a position."""
    torch.set_num_threads(1)
    stream = make_stream(BATCH * BATCHES)
    rendering = make_rendering(stream)
    traces = make_traces(stream, rendering)
    batches = [traces[start : start + BATCH] for start in range(0, len(traces), BATCH)]
    words, atoms = (measure(name, rendering, batches) for name in POSITIONS)
    return {
        "ratio": words["ratio"],
        "ratio_atoms": atoms["ratio"],
        "distil_tokens_per_s": words["mine"],
        "distil_atoms_tokens_per_s": atoms["mine"],
        "plain_tokens_per_s": words["plain"],
        "bfloat16": {width: bfloat16_gain(width, rendering, batches) for width in WIDTHS},
        "ratios": words["ratios"],
        "ratios_atoms": atoms["ratios"],
        "runs": RUNS,
        "batches": len(batches),
        "batch_traces": BATCH,
        "decisions": sum(len(trace.actions) for trace in traces),
        "tokens": words["tokens"],
        "padding_share_of_plain": words["padding"],
        "parameters": words["parameters"],
        "plain_parameters": words["plain_parameters"],
        "threads": torch.get_num_threads(),
    }


def make_traces(stream: TaskStream, rendering: Rendering) -> list[Trace]:
    """The plans of the stream's tasks as text."""
    by_name = {domain.name: domain for domain in stream.domains}
    planners = {name: MimirPlanner(get_pddl_domain(name)) for name in by_name}
    simulators = {name: make_simulator(domain) for name, domain in by_name.items()}
    found = (
        teach(
            task, planners[task.domain], simulators[task.domain], rendering, PlanLimits()
        )[1]
        for task in stream
    )  # fmt: skip
    return [trace for trace in found if trace is not None]


def measure(
    positions: Positions, rendering: Rendering, batches: Sequence[Sequence[Trace]]
) -> dict[str, Any]:
    """Both sides' tokens/s, and the ratio of each pair of steps."""
    model = make_model(ModelConfig(positions=positions), rendering)
    bare = plain_model(model)
    mine, plain = Distiller(model, CONFIG, 0), PlainTraining(bare, CONFIG)
    padded = [pad(batch, model.tokenizer) for batch in batches]
    mine.step(batches[0])  # warm-up, and the k-means start
    plain.step(padded[0])
    rates: list[tuple[float, float]] = []
    for run in range(RUNS):
        for traces, same in zip(batches, padded):
            if run % 2:
                first = timed(partial(mine.step, traces))
                second = timed(partial(plain.step, same))
            else:
                second = timed(partial(plain.step, same))
                first = timed(partial(mine.step, traces))
            rates.append((same.count / first, same.count / second))
    ratios = [a / b for a, b in rates]
    tokens = sum(same.count for same in padded)
    return {
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "mine": statistics.median(a for a, _ in rates),
        "plain": statistics.median(b for _, b in rates),
        "tokens": tokens,
        "padding": 1 - tokens / sum(same.tokens.numel() for same in padded),
        "parameters": model.parameter_count,
        "plain_parameters": sum(weight.numel() for weight in bare.parameters()),
    }


def bfloat16_gain(
    width: int, rendering: Rendering, batches: Sequence[Sequence[Trace]]
) -> dict[str, float | list[float]]:
    """Times of the distiller's step in float32 over those under autocast to bfloat16."""
    config = ModelConfig(positions="atoms", width=width, feed_forward=3 * width)
    full, half = (Distiller(make_model(config, rendering), CONFIG, 0) for _ in range(2))

    def autocast(traces: Sequence[Trace]) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half.step(traces)

    full.step(batches[0])
    autocast(batches[0])
    ratios = [
        timed(partial(full.step, traces)) / timed(partial(autocast, traces))
        for _ in range(RUNS)
        for traces in batches
    ]
    return {
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def make_model(config: ModelConfig, rendering: Rendering) -> ProcedureLM:
    """One with random weights, always the same."""
    torch.manual_seed(0)
    return ProcedureLM(config, rendering.vocabulary, rendering.interchangeable, rendering.names)


def timed(step: Callable[[], object]) -> float:
    """CPU seconds of a step."""
    began = time.process_time()
    step()
    return time.process_time() - began


def pad(traces: Sequence[Trace], tokenizer: Tokenizer) -> Padded:
    """The texts as the bare backbone gets them."""
    encoded = [
        EncodedTrace.encode(tokenizer, trace.prompt, trace.observations, trace.actions)
        for trace in traces
    ]
    longest = max(len(one.tokens) for one in encoded)
    tokens = torch.full((len(encoded), longest), tokenizer.pad)
    labels = torch.full((len(encoded), longest), IGNORED)
    for row, one in enumerate(encoded):
        tokens[row, : len(one.tokens)] = torch.tensor(one.tokens)
        for start, length in one.decisions:
            answer = slice(start + 1, start + 1 + length)
            labels[row, answer] = tokens[row, answer]
    return Padded(tokens, labels, sum(len(one.tokens) for one in encoded))
