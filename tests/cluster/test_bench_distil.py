"""The distillation benchmark: it can be asked for, and its rival learns the same answers."""

from __future__ import annotations

from cluster.bench import find_bench, list_benches
from cluster.bench_distil import IGNORED, bench_distil, pad
from model.tokenizer import WordTokenizer
from shared_memory.records import Trace


def test_it_can_be_asked_for() -> None:
    assert "distil" in list_benches()
    assert find_bench("distil") is bench_distil


def test_the_rival_learns_the_answers_and_nothing_else() -> None:
    words = ("<pad>", "<goal>", "<act>", "<end>", "<see>", "go", "here", "there")
    tokenizer = WordTokenizer(words)
    traces = [
        Trace(0, "0" * 32, "walk", 0, "hand", "<goal> there", ("",), ("go there",)),
        Trace(
            1, "1" * 32, "walk", 0, "hand", "<goal> here", ("", "<see> there"), ("go", "go here")
        ),
    ]
    batch = pad(traces, tokenizer)
    texts = [tokenizer.decode(row).split() for row in batch.tokens.tolist()]
    assert texts == [
        ["<goal>", "there", "<act>", "go", "there", "<end>", *["<pad>"] * 5],
        [
            "<goal>", "here", "<act>", "go", "<end>",
            "<see>", "there", "<act>", "go", "here", "<end>",
        ],
    ]  # fmt: skip
    learned = [[words[n] if n != IGNORED else "" for n in row] for row in batch.labels.tolist()]
    assert learned == [
        ["", "", "", "go", "there", "<end>", *[""] * 5],
        ["", "", "", "go", "<end>", "", "", "", "go", "here", "<end>"],
    ]
    assert batch.count == 6 + 11
