"""The training pass: its loss, what it may see, and what it must not."""

from __future__ import annotations

import dataclasses

import torch
from small_model import ONE_AND_TWO_WRITES, trace_of

from configs.schema import ModelConfig
from model import ProcedureLM, collate


def test_the_loss_is_the_plain_cross_entropy_of_every_answer_token(model: ProcedureLM) -> None:
    traces = [trace_of(model, number) for number in range(5)]
    batch = collate(traces, model.tokenizer)
    with torch.no_grad():
        losses = model(batch)
        memory, _ = model.write_batch(batch)
        R = model.quantise(memory).procedure
    expected, decision = [], 0
    for trace in traces:
        for start, length in trace.decisions:
            answer = trace.tokens[start : start + length + 1]
            with torch.no_grad():
                logits = model.answer(torch.tensor([answer[:-1]]), R[decision : decision + 1])[0]
            logs = logits.log_softmax(-1)
            expected += [-float(logs[at, token]) for at, token in enumerate(answer[1:])]
            decision += 1
    assert abs(float(losses.cross_entropy) - sum(expected) / len(expected)) < 1e-5
    assert torch.isclose(
        losses.total, losses.cross_entropy + model.config.book.commitment * losses.commitment
    )


@ONE_AND_TWO_WRITES
def test_no_answer_leaks_into_the_memory_that_serves_it(model: ProcedureLM) -> None:
    """Changing what follows an <act> changes no memory up to it, and does change later ones."""
    batch = collate([trace_of(model, 5)], model.tokenizer)
    tokens = batch.words.tokens
    second = int((tokens == model.tokenizer.act).nonzero()[1])  # the word, not the position
    changed = tokens.clone()
    take, go = (model.tokenizer.encode(word)[0] for word in ("take", "go"))
    changed[second + 1] = go if tokens[second + 1] == take else take
    other = dataclasses.replace(batch, words=dataclasses.replace(batch.words, tokens=changed))
    with torch.no_grad():
        before, _ = model.write_batch(batch)
        after, _ = model.write_batch(other)
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2], after[2])


def test_the_answer_knows_the_task_only_through_the_procedure(model: ProcedureLM) -> None:
    """With R held still, nothing else of the prompt can reach the logits."""
    batch = collate([trace_of(model, number) for number in range(4)], model.tokenizer)
    model.zero_grad()
    memory, _ = model.write_batch(batch)
    R = model.quantise(memory).procedure.detach()
    model.answer(batch.inputs, R).sum().backward()
    assert all(weight.grad is None for weight in model.backbone.transformer.layers[0].parameters())


@ONE_AND_TWO_WRITES
def test_gradients_pass_straight_through_the_book(model: ProcedureLM) -> None:
    losses = model(collate([trace_of(model, 2)], model.tokenizer))
    losses.total.backward()
    grads = [weight.grad for write in model.writes for weight in write.parameters()]
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in grads)


@ONE_AND_TWO_WRITES
def test_what_stands_beside_a_trace_changes_nothing(model: ProcedureLM) -> None:
    alone = collate([trace_of(model, 1)], model.tokenizer)
    beside = collate([trace_of(model, 1), trace_of(model, 5)], model.tokenizer)
    with torch.no_grad():
        first, _ = model.write_batch(alone)
        both, _ = model.write_batch(beside)
    assert torch.allclose(first, both[: len(first)], atol=1e-6)


def test_the_quickstart_preset_is_tiny() -> None:
    from cluster.settings import load_settings

    config: ModelConfig = load_settings("quickstart").config.model
    words = ("<pad>", "<act>", "<end>", *(f"word{number}" for number in range(200)))
    assert ProcedureLM(config, words).parameter_count <= 1_500_000
