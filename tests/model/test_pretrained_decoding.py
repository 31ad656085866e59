"""Decoding with pretrained backbones: batched and incremental, against full passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import VOCABULARY, config_for, make_checkpoint
from small_model import NAMES, trace_of

from model import DecodingEngine, EncodedTrace, ProcedureLM, collate
from model.pretrained import SUPPORTED


def trained(folder: Path, **changes: Any) -> ProcedureLM:
    """After a few steps, so that neither LoRA's B nor the book is as it was made."""
    torch.manual_seed(2)
    model = ProcedureLM(config_for(folder, **changes), VOCABULARY, (NAMES,))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=3e-3)
    batch = collate([trace_of(model, number) for number in range(12)], model.tokenizer)
    for _ in range(12):
        optimiser.zero_grad()
        model(batch).total.backward()
        optimiser.step()
    return model.eval()


def some_procedure(model: ProcedureLM, number: int, decision: int) -> torch.Tensor:
    """A random R (1, n, d) that has an answer of its own, which a little training does not give."""
    source = torch.Generator().manual_seed(10 * number + decision)
    return 2 * torch.randn(1, model.chunks, model.config.book.width, generator=source)


def plain_answers(model: ProcedureLM, number: int) -> list[tuple[list[int], list[int]]]:
    """(codes, greedy answer) of every decision, each token by a full pass over everything."""
    batch = collate([trace_of(model, number)], model.tokenizer)
    memory, _ = model.write_batch(batch)
    quantised = model.quantise(memory)
    found = []
    for decision in range(batch.decision_count):
        tokens = [model.tokenizer.act]
        R = some_procedure(model, number, decision)
        while len(tokens) <= model.tokenizer.longest_action:
            token = int(model.answer(torch.tensor([tokens]), R)[0, -1].argmax())
            if token == model.tokenizer.end:
                break
            tokens.append(token)
        found.append((quantised.codes[decision].tolist(), tokens[1:]))
    return found


def engine_answers(
    model: ProcedureLM, traces: list[EncodedTrace]
) -> list[list[tuple[list[int], list[int]]]]:
    """The same of many traces at once, each fed its own actions."""
    engine = DecodingEngine(model, slots=len(traces), max_tokens=96)
    found: list[list[tuple[list[int], list[int]]]] = [[] for _ in traces]
    engine.enter(range(len(traces)), [trace.tokens[: trace.decisions[0][0]] for trace in traces])
    for decision in range(max(len(trace.decisions) for trace in traces)):
        slots = [slot for slot, trace in enumerate(traces) if decision < len(trace.decisions)]
        reading = engine.read(slots)
        procedures = [some_procedure(model, slot, decision) for slot in slots]
        answers = engine.decode(slots, torch.cat(procedures))
        for row, slot in enumerate(slots):
            found[slot].append((reading.codes[row].tolist(), answers[row]))
        fed = []
        for slot in slots:
            start, length = traces[slot].decisions[decision]
            fed.append(traces[slot].tokens[start + 1 : start + 1 + length])
        engine.feed(slots, fed)
    return found


@pytest.mark.parametrize(
    ("model_type", "also_written_at"), [*((each, ()) for each in SUPPORTED), ("qwen2", (1,))]
)
@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_the_engine_equals_the_full_pass(
    model_type: str, also_written_at: tuple[int, ...], tuning: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / tuning, model_type)
    model = trained(folder, tuning=tuning, also_written_at=also_written_at)
    traces = [trace_of(model, number) for number in range(8)]
    with torch.inference_mode():
        expected = [plain_answers(model, number) for number in range(8)]
        assert engine_answers(model, traces) == expected
    assert len({tuple(answer) for each in expected for _, answer in each}) > 8


def test_the_engine_runs_in_bfloat16(tmp_path: Path) -> None:
    """Rounding may turn a near tie, so that most answers and codes are the same, not all."""
    model = trained(make_checkpoint(tmp_path, "qwen2"), dtype="bfloat16")
    traces = [trace_of(model, number) for number in range(8)]
    with torch.inference_mode():
        expected = [each for number in range(8) for each in plain_answers(model, number)]
        found = [each for trace in engine_answers(model, traces) for each in trace]
    same = sum(mine == theirs for mine, theirs in zip(found, expected, strict=True))
    assert same >= 0.7 * len(expected)


def test_an_admissible_action_of_many_sub_words_is_not_cut(tmp_path: Path) -> None:
    model = trained(make_checkpoint(tmp_path, "llama"))
    action = model.tokenizer.encode("go place1 place2 place3 place4 place5 place6 place1 place2")
    assert len(action) > 16
    engine = DecodingEngine(model, slots=1, max_tokens=96)
    with torch.inference_mode():
        assert engine.decode([0], some_procedure(model, 0, 0), allowed=[[action]]) == [action]
