"""How a procedure-book serves decisions, measured in the teacher's own states without learning.

No names are permuted and no code moves, so that the same model and decisions give the same
figures. A decision is a trace of one decision (`learner.curriculum.single_decisions`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cluster.stream_rows import BookFigures
from model.batches import EncodedTrace, collate
from model.procedure_lm import ProcedureLM
from shared_memory.records import Trace

BATCH = 128
"""Texts read at once."""


def book_figures(model: ProcedureLM, decisions: Sequence[Trace]) -> BookFigures | None:
    """The figures of at least one decision; None of none. The model is in evaluation mode.

    Where nothing is quantised (yet) there are no codes: error 0, and a ceiling of 1.
    """
    if not decisions:
        return None
    codes: list[npt.NDArray[np.int64]] = []
    error = energy = right = 0.0
    with torch.inference_mode():
        for start in range(0, len(decisions), BATCH):
            part = decisions[start : start + BATCH]
            encoded = [
                EncodedTrace.encode(
                    model.tokenizer, trace.prompt, trace.observations, trace.actions
                )
                for trace in part
            ]
            batch = collate(encoded, model.tokenizer)
            memory, _ = model.write_batch(batch)
            quantised = model.quantise(memory)
            hidden = model.answer_states(batch.inputs, quantised.procedure)
            nothing = memory.new_zeros(())
            losses = model.losses(batch, hidden[batch.mask], nothing, nothing)
            right += float(losses.right.sum())
            chunks = memory.reshape(quantised.procedure.shape)  # (S, n, d)
            error += float((chunks - quantised.procedure).square().sum())
            energy += float(chunks.square().sum())
            codes.append(quantised.codes.numpy())
    answers = [trace.actions[0] for trace in decisions]
    count = len(decisions)
    if not model.book.active:
        return BookFigures(
            decisions=count, error=0.0, used=0, perplexity=0.0, procedures=count, ceiling=1.0,
            right=right / count,
        )  # fmt: skip
    together = np.concatenate(codes)  # (S, n)
    usage = np.bincount(together.reshape(-1), minlength=model.config.book.codes)
    share = usage[usage > 0] / usage.sum()
    procedures = [row.tobytes() for row in together]
    return BookFigures(
        decisions=count,
        error=error / energy if energy else 0.0,
        used=int((usage > 0).sum()),
        perplexity=float(np.exp(-(share * np.log(share)).sum())),
        procedures=len(set(procedures)),
        ceiling=ceiling(procedures, answers),
        right=right / count,
    )


def ceiling(procedures: Sequence[bytes], answers: Sequence[str]) -> float:
    """The share of decisions that could be right if each procedure gave one answer always.

    An answer is read off R alone, so that of decisions with one R only those with its most
    frequent answer can be right. On a sample this is an upper bound: the larger, the tighter.
    """
    by_procedure: dict[bytes, Counter[str]] = defaultdict(Counter)
    for procedure, answer in zip(procedures, answers, strict=True):
        by_procedure[procedure][answer] += 1
    most = sum(max(counts.values()) for counts in by_procedure.values())
    return most / len(procedures)
