"""Incremental batched decoding against the plain full pass, and contrastive decoding."""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from small_model import ONE_AND_TWO_WRITES, anew_trace_of, trace_of

from model import DecodingEngine, EncodedTrace, ModelError, ProcedureLM, collate
from model.choosing import Sampling
from model.decoding import contrastive_scores


def plain_answers(model: ProcedureLM, trace: EncodedTrace) -> list[tuple[list[int], list[int]]]:
    """(codes, greedy answer) of every decision, each token by a full pass over everything."""
    batch = collate([trace], model.tokenizer)
    with torch.inference_mode():
        memory, _ = model.write_batch(batch)
        quantised = model.quantise(memory)
        found = []
        for decision in range(batch.decision_count):
            R = quantised.procedure[decision : decision + 1]
            tokens = [model.tokenizer.act]
            while len(tokens) <= 16:
                logits = model.answer(torch.tensor([tokens]), R)[0, -1]
                token = int(logits.argmax())
                if token == model.tokenizer.end:
                    break
                tokens.append(token)
            found.append((quantised.codes[decision].tolist(), tokens[1:]))
    return found


def make_trace(model: ProcedureLM, number: int) -> EncodedTrace:
    """Every other one begins anew on its way."""
    return trace_of(model, number) if number % 2 else anew_trace_of(model, number)


def fed_after(trace: EncodedTrace, decision: int) -> tuple[int, ...]:
    """What follows a decision's <act>: its answer, and what is seen before the next one."""
    following = [start for start, _ in trace.decisions[decision + 1 :]]
    return trace.tokens[trace.decisions[decision][0] + 1 : (*following, len(trace.tokens))[0]]


@ONE_AND_TWO_WRITES
def test_incremental_decoding_equals_the_full_pass(model: ProcedureLM) -> None:
    """Episodes of different length enter, wait and leave in random order over three slots."""
    rng = random.Random(0)
    traces = [make_trace(model, number) for number in range(12)]
    waiting = list(range(12))
    engine = DecodingEngine(model, slots=3, max_tokens=64)
    slots: dict[int, tuple[int, int]] = {}  # slot → (trace, next decision)
    answers: dict[int, list[tuple[list[int], list[int]]]] = {number: [] for number in range(12)}
    with torch.inference_mode():
        while waiting or slots:
            for slot in range(3):
                if slot not in slots and waiting and rng.random() < 0.7:
                    number = waiting.pop()
                    first = traces[number].decisions[0][0]
                    engine.enter([slot], [traces[number].tokens[:first]])
                    slots[slot] = (number, 0)
            acting = [slot for slot in slots if rng.random() < 0.8]
            rng.shuffle(acting)
            if not acting:
                continue
            reading = engine.read(acting)
            decoded = engine.decode(acting, reading.memory)
            fed = []
            for row, slot in enumerate(acting):
                number, decision = slots[slot]
                answers[number].append((reading.codes[row].tolist(), decoded[row]))
                fed.append(fed_after(traces[number], decision))
                if decision + 1 == len(traces[number].decisions):
                    del slots[slot]
                else:
                    slots[slot] = (number, decision + 1)
            engine.feed(acting, fed)
    for number, trace in enumerate(traces):
        assert answers[number] == plain_answers(model, trace)


@pytest.fixture
def expected(model: ProcedureLM) -> list[list[tuple[list[int], list[int]]]]:
    return [plain_answers(model, make_trace(model, number)) for number in range(12)]


@ONE_AND_TWO_WRITES
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_of_entering_and_leaving_gives_the_same(
    model: ProcedureLM, expected: list[list[tuple[list[int], list[int]]]], data: st.DataObject
) -> None:
    """Slots are refilled while others run, some episodes break off, and tokens come in pieces."""
    engine = DecodingEngine(model, slots=4, max_tokens=64)
    traces = [make_trace(model, number) for number in range(12)]
    slots: dict[int, tuple[int, int]] = {}
    for _ in range(data.draw(st.integers(3, 8), "rounds")):
        for slot in data.draw(st.lists(st.integers(0, 3), unique=True), "entering"):
            number = data.draw(st.integers(0, 11), "trace")
            with torch.inference_mode():
                engine.enter([slot], [traces[number].tokens[: traces[number].decisions[0][0]]])
            slots[slot] = (number, 0)
        acting = [slot for slot in data.draw(st.permutations(range(4)), "order") if slot in slots]
        acting = acting[: data.draw(st.integers(0, 4), "how many")]
        if not acting:
            continue
        with torch.inference_mode():
            reading = engine.read(acting)
            decoded = engine.decode(acting, reading.memory)
            for row, slot in enumerate(acting):
                number, decision = slots[slot]
                assert (reading.codes[row].tolist(), decoded[row]) == expected[number][decision]
                fed = fed_after(traces[number], decision)
                cut = data.draw(st.integers(0, len(fed)), "cut")
                engine.feed([slot, slot], [fed[:cut], fed[cut:]])
                slots[slot] = (number, decision + 1)
                if decision + 1 == len(traces[number].decisions):
                    del slots[slot]


@ONE_AND_TWO_WRITES
def test_a_text_that_begins_anew_forgets_all_before(model: ProcedureLM) -> None:
    """Whether the answer before it is fed or not, and however often it begins within one feed."""
    encode = model.tokenizer.encode
    old = encode("<domain> take <goal> take place3 <state> take place4 take place5")
    new = encode("<domain> go <goal> take place1 <state> go place2")
    engine = DecodingEngine(model, slots=4, max_tokens=64)
    with torch.inference_mode():
        engine.enter(range(4), [new, old, old, old])
        engine.read([1, 2])  # slot 3 has what it entered with still to be fed
        answer = [*encode("take place4"), model.tokenizer.end]
        engine.feed([1, 2, 3], [new, [*answer, *old, *new], new])
        reading = engine.read(range(4))
    for slot in (1, 2, 3):
        assert torch.allclose(reading.memory[slot], reading.memory[0], atol=1e-6)
        assert reading.codes[slot].tolist() == reading.codes[0].tolist()


def test_what_was_forgotten_takes_no_room(model: ProcedureLM) -> None:
    new = model.tokenizer.encode("<domain> go <goal> take place1 <state> go place2")
    engine = DecodingEngine(model, slots=1, max_tokens=len(new) + 2)
    with torch.inference_mode():
        engine.enter([0], [new])
        for _ in range(5):
            engine.read([0])
            engine.feed([0], [new])


def test_the_contrast_of_a_pair_is_that_of_two_separate_runs(model: ProcedureLM) -> None:
    """Each side by full passes of its own; answers of different length leave the batch."""
    source = torch.Generator().manual_seed(11)
    R, against = (2 * torch.randn(24, model.chunks, 8, generator=source) for _ in range(2))
    where = torch.arange(24) % 3 != 0
    engine = DecodingEngine(model, slots=24, max_tokens=64)
    expected = []
    with torch.inference_mode():
        found = engine.decode(range(24), R, against, where, alpha=0.7, gamma=0.2)
        for row in range(24):
            tokens = [model.tokenizer.act]
            while len(tokens) <= 16:
                inputs = torch.tensor([tokens])
                positive, negative = (
                    torch.log_softmax(model.answer(inputs, each[row : row + 1])[:, -1], -1)
                    for each in (R, against)
                )
                if where[row]:
                    positive = contrastive_scores(positive, negative, 0.7, 0.2)
                token = int(positive.argmax())
                if token == model.tokenizer.end:
                    break
                tokens.append(token)
            expected.append(tokens[1:])
    assert found == expected
    assert len({len(answer) for answer in found}) > 1
    assert len({tuple(answer) for answer in found}) > 4


class RecordingEngine(DecodingEngine):
    """Remembers the scores that tokens were chosen by."""

    scores: list[torch.Tensor]

    def _choose(self, scores: torch.Tensor, *rest: Any) -> torch.Tensor:
        self.scores.append(scores.clone())
        return super()._choose(scores, *rest)


def test_silent_banks_leave_every_score_as_it_is_bit_for_bit(model: ProcedureLM) -> None:
    R = torch.randn(6, model.chunks, 8, generator=torch.Generator().manual_seed(3))
    engine = RecordingEngine(model, slots=6, max_tokens=64)
    seen = []
    with torch.inference_mode():
        for banks in ((), (R.flip(0), torch.zeros(6, dtype=torch.bool), 0.5, 0.1)):
            engine.scores = []
            engine.decode(range(6), R, *banks)
            seen.append(engine.scores)
    alone, silent = seen
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(alone, silent, strict=True))


def test_drawn_answers_are_those_of_their_seed(model: ProcedureLM) -> None:
    R = torch.randn(16, model.chunks, 8, generator=torch.Generator().manual_seed(3))
    engine = DecodingEngine(model, slots=16, max_tokens=64)

    def drawn(seed: int, temperature: float) -> list[list[int]]:
        sampling = Sampling(temperature, 0.95, torch.Generator().manual_seed(seed))
        return engine.decode(range(16), R, sampling=sampling)

    with torch.inference_mode():
        greedy = engine.decode(range(16), R)
        assert drawn(1, 1.0) == drawn(1, 1.0)
        assert drawn(1, 1.0) != drawn(2, 1.0)
        assert drawn(1, 0.0) == drawn(2, 1e-6) == greedy


def test_rows_without_contrast_answer_bit_for_bit_as_without_banks(model: ProcedureLM) -> None:
    R = torch.randn(4, model.chunks, 8, generator=torch.Generator().manual_seed(3))
    engine = DecodingEngine(model, slots=4, max_tokens=64)
    with torch.inference_mode():
        alone = engine.decode(range(4), R)
        silent = engine.decode(range(4), R, R.flip(0), torch.zeros(4, dtype=torch.bool), 0.5, 0.1)
        some = torch.tensor([True, False, True, False])
        mixed = engine.decode(range(4), R, R.flip(0), some, 5.0, 0.0)
    assert silent == alone
    assert [mixed[1], mixed[3]] == [alone[1], alone[3]]
    assert mixed != alone


def test_contrastive_scores_by_hand() -> None:
    positive = torch.log(torch.tensor([[0.6, 0.35, 0.05]]))
    negative = torch.log(torch.tensor([[0.8, 0.1, 0.1]]))
    scores = contrastive_scores(positive, negative, alpha=1.0, gamma=0.1)
    expected = [2 * np.log(0.6) - np.log(0.8), 2 * np.log(0.35) - np.log(0.1)]
    assert scores[0, :2].tolist() == pytest.approx(expected, rel=1e-6)
    assert scores[0, 2] == float("-inf")  # 0.05 < 0.1 · 0.6
    assert int(scores.argmax()) == 1  # the failures' favourite is avoided


def test_a_restricted_answer_is_always_an_allowed_one(model: ProcedureLM) -> None:
    encode = model.tokenizer.encode
    allowed = [
        [encode("go place1"), encode("go place1 place2"), encode("take place3")],
        [encode("take place5")],
    ]
    R = torch.randn(2, model.chunks, 8, generator=torch.Generator().manual_seed(5))
    engine = DecodingEngine(model, slots=2, max_tokens=64)
    with torch.inference_mode():
        answers = engine.decode([0, 1], R, allowed=allowed)
    assert answers[0] in allowed[0]
    assert answers[1] == allowed[1][0]


def test_contrast_chooses_among_the_plausible_of_what_is_allowed(model: ProcedureLM) -> None:
    """Where the model's favourite is not admissible, its best admissible answer stays in play."""
    R = torch.randn(64, model.chunks, 8, generator=torch.Generator().manual_seed(7))
    names = [model.tokenizer.encode(f"go place{number}") for number in range(1, 7)]
    allowed = [[names[row % 6], names[(row + 1) % 6]] for row in range(64)]
    engine = DecodingEngine(model, slots=64, max_tokens=64)
    every = torch.ones(64, dtype=torch.bool)
    with torch.inference_mode():
        alone = engine.decode(range(64), R, allowed=allowed)
        same = engine.decode(range(64), R, R, every, 0.5, 0.9, allowed=allowed)
    assert same == alone  # p⁺ = p⁻: the contrast must not change the order


def test_a_sequence_that_outgrows_its_slot_is_refused(model: ProcedureLM) -> None:
    engine = DecodingEngine(model, slots=1, max_tokens=8)
    with (
        torch.inference_mode(),
        pytest.raises(ModelError, match=r"9 tokens does not fit .*max_tokens = 8"),
    ):
        engine.enter([0], [[6] * 9])
