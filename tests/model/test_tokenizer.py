from __future__ import annotations

import pytest

from model import ModelError, WordTokenizer


def test_words_come_back() -> None:
    tokenizer = WordTokenizer(("<pad>", "<act>", "<end>", "stack", "block1"))
    ids = tokenizer.encode(" stack  block1 ")
    assert ids == [3, 4]
    assert tokenizer.decode(ids) == "stack block1"
    assert (tokenizer.pad, tokenizer.act, tokenizer.end) == (0, 1, 2)


def test_an_unknown_word_is_named() -> None:
    tokenizer = WordTokenizer(("<pad>", "<act>", "<end>"))
    with pytest.raises(ModelError, match="'fly' is not among the 3 words"):
        tokenizer.encode("<act> fly")


@pytest.mark.parametrize("words", [("<act>", "<pad>", "<end>"), ("<pad>", "<end>"), ("<pad>",) * 2])
def test_a_vocabulary_without_its_specials_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ModelError):
        WordTokenizer(words)
