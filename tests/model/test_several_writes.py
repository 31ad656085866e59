"""Memory that is written at several layers, each write going on from the last one's."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from small_model import ONE_AND_TWO_WRITES, anew_trace_of, trace_of
from torch import Tensor

from configs.schema import MemoryConfig, ModelConfig
from learner.reencoding import PublishedEncoder
from model import ProcedureLM, collate, to_bytes
from model.working_memory import MemoryWrite

TWO_WRITES = pytest.mark.parametrize("also_written_at", [(1,)])


def written(write: MemoryWrite, hidden: Tensor, before: Tensor) -> Tensor:
    """M (N, D_m) of the decision at the last of (T, D), as the docstring tells it."""
    normed = write.norm(hidden)
    keys, values = write.key(normed), write.value(normed)  # (T, D_m)
    queries = write.query_bias + write.query(normed[-1]).view(write.slots, write.width)
    heads = []
    for query, key, value in zip(
        *(each.chunk(write.heads, -1) for each in (queries, keys, values))
    ):
        weights = torch.softmax(query @ key.T * query.shape[-1] ** -0.5, -1)  # (N, T)
        heads.append(weights @ value)
    E = write.output(torch.cat(heads, -1))
    g_in, g_forget = torch.sigmoid(write.gate_in(E)), torch.sigmoid(write.gate_forget(E))
    result: Tensor = g_in * torch.tanh(E) + g_forget * before
    return result


@TWO_WRITES
def test_a_further_write_takes_the_last_ones_memory_in_place_of_the_first(
    model: ProcedureLM,
) -> None:
    batch = collate([anew_trace_of(model, number) for number in (3, 5, 6)], model.tokenizer)
    with torch.no_grad():
        found, _ = model.write_batch(batch)
        embedded = model.backbone.embed_words(batch.words)
        states = model.backbone.states_after((1, 2), embedded, batch.positions, batch.packing)
        for decision, act in enumerate(batch.act.tolist()):
            memory: Tensor = model.memory_write.initial
            for write, hidden in zip(model.writes, states, strict=True):
                text = slice(act - int(batch.positions[act]), act + 1)
                memory = written(write, hidden[text], memory)
            assert torch.allclose(found[decision], memory, atol=1e-5)


@ONE_AND_TWO_WRITES
def test_some_steps_of_learning_lower_the_loss(
    model: ProcedureLM, also_written_at: tuple[int, ...]
) -> None:
    batch = collate([trace_of(model, number) for number in range(8)], model.tokenizer)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    before = [write.query.weight.detach().clone() for write in model.writes]
    losses = []
    model.train()
    for _ in range(20):
        optimiser.zero_grad()
        found = model(batch)
        found.total.backward()
        optimiser.step()
        losses.append(float(found.cross_entropy))
    assert losses[-1] < 0.6 * losses[0]
    assert len(model.writes) == 1 + len(also_written_at)
    moved = [write.query.weight - old for write, old in zip(model.writes, before, strict=True)]
    assert all(bool(change.abs().sum() > 0) for change in moved)


@ONE_AND_TWO_WRITES
def test_prompts_encoded_again_get_the_codes_of_training(model: ProcedureLM) -> None:
    traces = [trace_of(model, number) for number in range(6)]
    with torch.no_grad():
        memory, _ = model.write_batch(collate(traces, model.tokenizer))
    codes = model.quantise(memory).codes.tolist()
    first = [sum(len(trace.decisions) for trace in traces[:number]) for number in range(6)]
    found = PublishedEncoder(to_bytes(model, 1)).encode(
        [trace.tokens[: trace.decisions[0][0]] for trace in traces]
    )
    assert [None if each is None else list(each) for each in found] == [codes[at] for at in first]


def test_a_single_write_has_the_names_that_it_always_had(model: ProcedureLM) -> None:
    """So that weights and studies' results from before it could be written twice stay good."""
    assert not any(name.startswith("further_writes") for name in model.state_dict())
    assert "also_written_at" not in model.config.model_dump_json()


@TWO_WRITES
def test_the_layers_are_kept_with_the_configuration(config: ModelConfig) -> None:
    again = ModelConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.memory.written_at == (1, 2)


@pytest.mark.parametrize("layers", [(0,), (4,), (5,), (2, 1), (1, 1), (-1, 2)])
def test_layers_that_are_not_below_or_not_rising_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=r"also_written_at = .* below layer = 4"):
        MemoryConfig(layer=4, also_written_at=layers)
