"""Traces as tensors: texts that begin anew, words that join, decisions, and those that are kept."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from small_model import NAMES, WORDS, anew_trace_of

from model import EncodedTrace, ModelError, ProcedureLM, collate
from model.backbone import MOST_JOINED
from model.batches import Words
from model.tokenizer import WordTokenizer

ALL = WORDS + NAMES
TOKENIZERS = {
    "words": WordTokenizer(ALL),
    "atoms": WordTokenizer(ALL, (*NAMES, "<end>")),
}

names = st.sampled_from(NAMES)
atom = st.tuples(st.sampled_from(("go", "take")), st.lists(names, max_size=3)).map(
    lambda made: " ".join((made[0], *made[1]))
)
text = st.lists(atom, max_size=4).map(lambda atoms: " ".join(("<domain> go <goal>", *atoms)))
observation = st.one_of(st.just(""), text, st.lists(atom, max_size=2).map(" ".join))


@st.composite
def trace(draw: st.DrawFn, least: int = 0) -> EncodedTrace:
    """Begins with <domain> or not, and begins anew before some decisions."""
    count = draw(st.integers(least, 5))
    prompt = draw(st.one_of(text, st.lists(atom, min_size=1, max_size=3).map(" ".join)))
    observations = ["", *(draw(observation) for _ in range(count - 1))][:count]
    return EncodedTrace.encode(
        TOKENIZERS["words"], prompt, observations, [draw(atom) for _ in range(count)]
    )


batches = st.lists(trace(), min_size=1, max_size=5).filter(
    lambda traces: any(one.decisions for one in traces)
)


def texts_of(one: EncodedTrace, begin: int) -> list[list[int]]:
    """The plain way: a list for each text."""
    found: list[list[int]] = []
    for token in one.tokens:
        if token == begin or not found:
            found.append([])
        found[-1].append(token)
    return found


def positions_of(words: list[int], joined: frozenset[int]) -> list[list[int]]:
    """The plain way: the words of each position of a text."""
    found: list[list[int]] = []
    for place, word in enumerate(words):
        if place == 0 or word not in joined:
            found.append([])
        found[-1].append(word)
    return found


@settings(max_examples=60, deadline=None)
@given(batches, st.sampled_from(sorted(TOKENIZERS)))
def test_a_batch_is_its_texts_and_their_decisions(traces: list[EncodedTrace], kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    batch = collate(traces, tokenizer)
    texts = [found for one in traces for found in texts_of(one, tokenizer.begin)]
    expected = [positions_of(found, tokenizer.joined) for found in texts]
    P = sum(len(found) for found in expected)

    words: list[list[int]] = [[] for _ in range(P)]
    for token, role, position in zip(
        batch.words.tokens.tolist(), batch.words.roles.tolist(), batch.words.position.tolist()
    ):
        assert role == len(words[position])  # 0 for the first, 1 for the next …
        words[position].append(token)
    assert words == [position for found in expected for position in found]
    firsts = [batch.words.tokens[start].item() for start in batch.words.starts]
    assert firsts == [position[0] for position in words]
    assert batch.positions.tolist() == [at for found in expected for at in range(len(found))]
    assert batch.packing.rows == len(texts)
    assert batch.packing.longest == max(len(found) for found in expected)
    row_of = [row for row, found in enumerate(expected) for _ in found]
    places = [row * batch.packing.longest + at for row, at in zip(row_of, batch.positions.tolist())]
    assert batch.packing.places.tolist() == places

    wanted = [
        one.tokens[place : place + 1 + length] for one in traces for place, length in one.decisions
    ]
    assert batch.decision_count == len(wanted)
    assert batch.token_count == sum(len(one.tokens) for one in traces)
    assert batch.of_trace.tolist() == [len(one.decisions) for one in traces]
    for number, spoken in enumerate(wanted):
        assert words[batch.act[number]][0] == tokenizer.act
        length = int(batch.mask[number].sum())
        assert batch.mask[number, :length].all()
        assert batch.inputs[number, :length].tolist() == list(spoken[:-1])
        assert batch.targets[number, :length].tolist() == list(spoken[1:])
        assert batch.inputs[number, 0] == tokenizer.act
    rows = [row_of[place] for place in batch.act.tolist()]
    most = batch.decisions.longest
    assert [place // most for place in batch.decisions.places.tolist()] == rows
    assert most == max(rows.count(row) for row in rows)


def context_and_answer(one: EncodedTrace, decision: int, begin: int) -> tuple[list[int], list[int]]:
    """What a decision is made from, <act> included, and its answer."""
    place, length = one.decisions[decision]
    before = list(one.tokens[: place + 1])
    if begin in before:
        before = before[len(before) - 1 - before[::-1].index(begin) :]
    return before, list(one.tokens[place + 1 : place + 1 + length])


@settings(max_examples=80, deadline=None)
@given(trace(least=1), st.data())
def test_kept_decisions_are_made_from_the_same_text(one: EncodedTrace, data: st.DataObject) -> None:
    begin = TOKENIZERS["words"].begin
    numbers = range(len(one.decisions))
    chosen = sorted(data.draw(st.sets(st.sampled_from(numbers), min_size=1), "kept"))
    kept = one.keep(chosen, begin)
    assert [context_and_answer(kept, k, begin) for k in range(len(kept.decisions))] == [
        context_and_answer(one, number, begin) for number in chosen
    ]
    # no text stands there for nothing, and none is torn
    texts = texts_of(kept, begin)
    everything = texts_of(one, begin)
    assert all(found in everything for found in texts)
    batch = collate([kept], TOKENIZERS["words"])
    row = torch.div(batch.packing.places[batch.act], batch.packing.longest, rounding_mode="floor")
    assert sorted(set(row.tolist())) == list(range(len(texts)))


@settings(max_examples=40, deadline=None)
@given(trace(least=1))
def test_keeping_all_decisions_keeps_all_texts_with_one(one: EncodedTrace) -> None:
    kept = one.keep(range(len(one.decisions)), TOKENIZERS["words"].begin)
    assert kept == one or len(kept.tokens) < len(one.tokens)
    assert len(kept.decisions) == len(one.decisions)
    again = kept.keep(range(len(kept.decisions)), TOKENIZERS["words"].begin)
    assert again == kept


def test_a_batch_without_a_decision_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one decision"):
        collate([EncodedTrace((1, 2), ())], TOKENIZERS["words"])


def test_memories_of_kept_decisions_are_those_of_all(model: ProcedureLM) -> None:
    """Whatever stands beside them, before them or was left out."""
    traces = [anew_trace_of(model, number) for number in (3, 7, 11, 2)]
    begin = model.tokenizer.begin
    kept = [one.keep(range(0, len(one.decisions), 2), begin) for one in traces]
    wanted, first = [], 0
    for one in traces:
        wanted += range(first, first + len(one.decisions), 2)
        first += len(one.decisions)
    with torch.no_grad():
        whole, _ = model.write_batch(collate(traces, model.tokenizer))
        some, _ = model.write_batch(collate(kept, model.tokenizer))
    assert len(some) == len(wanted) < len(whole)
    assert torch.allclose(some, whole[wanted], atol=1e-5)


def test_a_text_that_begins_anew_does_not_see_what_came_before(model: ProcedureLM) -> None:
    encode = model.tokenizer.encode
    new = "<domain> go <goal> take place1 <state> go place2"
    with torch.no_grad():
        memories = []
        for prompt in ("<domain> go <goal> go place3", "<domain> take <goal> take place4 place5"):
            one = EncodedTrace.encode(model.tokenizer, prompt, ("", new), ("go place1",) * 2)
            memory, _ = model.write_batch(collate([one], model.tokenizer))
            memories.append(memory)
    assert encode(new)[0] == model.tokenizer.begin
    assert torch.allclose(memories[0][1], memories[1][1], atol=1e-6)
    assert not torch.allclose(memories[0][0], memories[1][0], atol=1e-3)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_position_is_the_sum_of_its_words_turned_by_their_roles(
    model: ProcedureLM, data: st.DataObject
) -> None:
    backbone, tokenizer = model.backbone, model.tokenizer
    one = data.draw(trace(least=1))
    tokens = torch.tensor(one.tokens)
    words = Words.join(tokens, tokenizer.joined, torch.tensor([0]))
    with torch.no_grad():
        found = backbone.embed_words(words)
        again = backbone.embed_words(words, backbone.role_table())
        table = backbone.transformer.embed_tokens.weight
        for position, said in enumerate(positions_of(list(one.tokens), tokenizer.joined)):
            expected = table[said[0]].clone()
            for role, word in enumerate(said[1:]):
                assert backbone.roles is not None
                expected += table[word] @ backbone.roles[min(role, MOST_JOINED - 1)]
            assert torch.allclose(found[position], expected, atol=1e-5)
    assert torch.equal(found, again)


def test_the_order_of_an_atoms_objects_matters(model: ProcedureLM) -> None:
    def memory(prompt: str) -> torch.Tensor:
        one = EncodedTrace.encode(model.tokenizer, prompt, ("",), ("go",))
        with torch.no_grad():
            return model.write_batch(collate([one], model.tokenizer))[0]

    there, back = memory("<domain> go place1 place2"), memory("<domain> go place2 place1")
    assert not torch.allclose(there, back, atol=1e-3)
