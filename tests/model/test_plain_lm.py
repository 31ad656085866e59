"""The ablation without memory: its training pass, decoding against the full pass, saving."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from small_model import NAMES, WORDS, trace_of
from torch.nn import functional

from configs.schema import MemoryConfig, ModelConfig
from model import (
    DecodingEngine,
    EncodedTrace,
    ModelError,
    PlainDecodingEngine,
    PlainLM,
    ProcedureLM,
    collate,
    from_pretrained,
    make_engine,
    make_lm,
    save_pretrained,
)
from model.choosing import Sampling


@pytest.fixture
def plain(config: ModelConfig) -> PlainLM:
    memory = MemoryConfig(use="none", slots=3, width=16, layer=2, heads=2)
    torch.manual_seed(0)
    made = make_lm(config.model_copy(update={"memory": memory}), WORDS + NAMES, (NAMES,), NAMES)
    assert isinstance(made, PlainLM)
    with torch.no_grad():
        for weight in made.backbone.transformer.layers.parameters():
            weight *= 10 if weight.dim() == 2 else 1  # or its answers would hardly hang on the text
        for word in ("<domain>", "<act>"):  # no answer shall hold them: they structure a text
            made.backbone.transformer.embed_tokens.weight[WORDS.index(word)] = 0.0
    return made.eval()


def logits_after(model: PlainLM, tokens: list[int]) -> torch.Tensor:
    """By a pass over all of a text that ends in an answer in the making."""
    act = len(tokens) - 1 - tokens[::-1].index(model.tokenizer.act)
    closed = [*tokens, model.tokenizer.end]
    batch = collate([EncodedTrace(tuple(closed), ((act, len(closed) - 1 - act),))], model.tokenizer)
    with torch.inference_mode():
        hidden = model.text_states(batch)
        return model.backbone.logits(hidden[batch.act[0] + len(tokens) - 1 - act])


def full_answers(model: PlainLM, trace: EncodedTrace) -> list[list[int]]:
    """The greedy answer to every decision, each token by a pass over all that stands before."""
    found = []
    for place, _ in trace.decisions:
        tokens = list(trace.tokens[: place + 1])
        if model.tokenizer.begin in tokens:  # what stands before is forgotten
            tokens = tokens[len(tokens) - 1 - tokens[::-1].index(model.tokenizer.begin) :]
        answer: list[int] = []
        while len(answer) < model.tokenizer.longest_action:
            token = int(logits_after(model, tokens + answer).argmax())
            if token == model.tokenizer.end:
                break
            answer.append(token)
        found.append(answer)
    return found


def anew(model: PlainLM, number: int) -> EncodedTrace:
    """A trace whose text begins anew before its later decisions."""
    encode = model.tokenizer.encode
    trace = trace_of(model, number)
    tokens, decisions = list[int](), list[tuple[int, int]]()
    for nth, (place, length) in enumerate(trace.decisions):
        text = trace.tokens[: trace.decisions[0][0]] if not nth else ()
        tokens += [
            *text,
            *(encode(f"<domain> <state> go {NAMES[nth + number % 3]}") if nth else ()),
        ]
        decisions.append((len(tokens), length))
        tokens += trace.tokens[place : place + length + 1]
    return EncodedTrace(tuple(tokens), tuple(decisions))


def test_the_loss_is_that_of_every_answer_token_after_all_that_stands_before(
    plain: PlainLM,
) -> None:
    traces = [trace_of(plain, number) for number in range(5)] + [anew(plain, 2)]
    batch = collate(traces, plain.tokenizer)
    with torch.no_grad():
        losses = plain(batch)
    expected, right = [], []
    for trace in traces:
        for place, length in trace.decisions:
            start = 0
            if plain.tokenizer.begin in trace.tokens:
                before = trace.tokens[: place + 1]
                start = place - before[::-1].index(plain.tokenizer.begin)
            exact = True
            for at in range(place, place + length):
                logits = logits_after(plain, list(trace.tokens[start : at + 1]))
                target = torch.tensor(trace.tokens[at + 1])
                expected.append(float(functional.cross_entropy(logits, target)))
                exact &= int(logits.argmax()) == int(target)
            right.append(exact)
    assert float(losses.cross_entropy) == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert losses.right.tolist() == right
    assert float(losses.commitment) == float(losses.pull) == 0.0
    assert torch.equal(losses.total, losses.cross_entropy)


def test_later_words_of_an_answer_change_nothing_before_them(plain: PlainLM) -> None:
    """Also where atoms are joined: a word that is to be predicted stands at no earlier position."""
    tokens = list(trace_of(plain, 5).tokens)
    place = trace_of(plain, 5).decisions[1][0]
    known = logits_after(plain, tokens[: place + 2])
    texts = [tokens[: place + 2], [*tokens[: place + 2], *plain.tokenizer.encode("place6")]]
    for text in texts:
        closed = (*text, plain.tokenizer.end)
        length = len(closed) - 1 - place
        batch = collate([EncodedTrace(closed, ((place, length),))], plain.tokenizer)
        with torch.inference_mode():
            again = plain.backbone.logits(plain.text_states(batch)[batch.act[0] + 1])
        assert torch.allclose(again, known, atol=1e-5)


@pytest.mark.parametrize("beginning_anew", [False, True])
def test_incremental_decoding_equals_the_full_pass(plain: PlainLM, beginning_anew: bool) -> None:
    """Episodes of different length enter, wait and leave in random order over three slots.

    What is fed back is the trace's answer, not the one decoded.
    """
    rng = random.Random(0)
    traces = [(anew if beginning_anew else trace_of)(plain, number) for number in range(12)]
    expected = [full_answers(plain, trace) for trace in traces]
    assert len({tuple(answer) for answers in expected for answer in answers}) > 3
    waiting = list(range(12))
    engine = make_engine(plain, slots=3, max_tokens=64)
    assert isinstance(engine, PlainDecodingEngine)
    slots: dict[int, tuple[int, int]] = {}  # slot → (trace, next decision)
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
            assert reading.codes.shape == (len(acting), 0)
            decoded = engine.decode(acting, reading.memory)
            for row, slot in enumerate(acting):
                number, decision = slots[slot]
                trace = traces[number]
                assert decoded[row] == expected[number][decision]
                start = trace.decisions[decision][0]
                if decision + 1 == len(trace.decisions):
                    del slots[slot]
                else:
                    slots[slot] = (number, decision + 1)
                    fed = trace.tokens[start + 1 : trace.decisions[decision + 1][0]]
                    cut = rng.randrange(len(fed))
                    engine.feed([slot, slot], [fed[:cut], fed[cut:]])


def test_answers_are_restricted_and_drawn_as_told(plain: PlainLM) -> None:
    encode = plain.tokenizer.encode
    allowed = [[encode("go place1"), encode("go place1 place2")], [encode("take place5")]]
    engine = PlainDecodingEngine(plain, slots=2, max_tokens=64)
    with torch.inference_mode():
        engine.enter([0, 1], [trace_of(plain, number).tokens[:7] for number in (1, 2)])
        memory = engine.read([0, 1]).memory
        answers = engine.decode([0, 1], memory, allowed=allowed)
        drawn = [
            engine.decode(
                [0, 1], memory, sampling=Sampling(1.0, 0.95, torch.Generator().manual_seed(seed))
            )
            for seed in (1, 1, 2)
        ]
    assert answers[0] in allowed[0]
    assert answers[1] == allowed[1][0]
    assert drawn[0] == drawn[1] != drawn[2]


def test_there_is_nothing_to_contrast_with(plain: PlainLM, model: ProcedureLM) -> None:
    engine = PlainDecodingEngine(plain, slots=1, max_tokens=64)
    engine.enter([0], [[6, 7]])
    with torch.inference_mode():
        memory = engine.read([0]).memory
        with pytest.raises(ModelError, match="plain LM has no memory"):
            engine.decode([0], memory, None, torch.ones(1, dtype=torch.bool))
    assert isinstance(make_engine(model, 1, 8), DecodingEngine)


def test_it_has_no_memory_and_an_unused_book(plain: PlainLM, model: ProcedureLM) -> None:
    plain.train()
    plain(collate([trace_of(plain, 1)], plain.tokenizer)).total.backward()
    assert all(weight.grad is not None for weight in plain.parameters() if weight.requires_grad)
    assert plain.parameter_count < model.parameter_count
    statistics = plain.book.statistics()
    assert (statistics.used, statistics.decisions, statistics.perplexity) == (0, 0, 0.0)
    assert not plain.book.active


def test_it_comes_back_bit_for_bit(plain: PlainLM, tmp_path: Path) -> None:
    save_pretrained(plain, tmp_path, version=3)
    again, version = from_pretrained(tmp_path)
    assert version == 3
    assert isinstance(again, PlainLM)
    mine, theirs = plain.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
