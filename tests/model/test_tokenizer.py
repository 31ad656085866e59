from __future__ import annotations

from typing import Any

import pytest
from checkpoints import VOCABULARY, tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from model import EncodedTrace, ModelError, SubwordTokenizer, WordTokenizer


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words begin with "▁", one is put before every text (Llama 2, Mistral)."""
    made = Tokenizer(models.BPE(byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=60, show_progress=False)
    made.train_from_iterator([" ".join(VOCABULARY)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made)


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
@pytest.mark.parametrize("make", [WordTokenizer, lambda words: SubwordTokenizer(None, words)])
def test_a_vocabulary_without_its_specials_is_refused(words: tuple[str, ...], make: Any) -> None:
    with pytest.raises(ModelError):
        make(words)


@pytest.mark.parametrize("theirs", [tokenizer, sentencepiece_like])
def test_sub_words_come_back_as_words(theirs: Any) -> None:
    mine = SubwordTokenizer(theirs(), VOCABULARY)
    text = "<goal> take place5 <state> go place1 place2 go"
    ids = mine.encode(text)
    assert mine.decode(ids) == text
    assert len(ids) > len(text.split())  # some words take several
    assert all(0 <= number < len(mine) for number in ids)
    assert mine.decode(ids[1:4]) == mine.decode(ids)[len("<goal> ") :][: len(mine.decode(ids[1:4]))]
    assert mine.decode([]) == ""
    assert mine.encode(" take   place5 ") == mine.encode("take") + mine.encode("place5")


@pytest.mark.parametrize("theirs", [tokenizer, sentencepiece_like])
def test_sub_words_are_those_of_the_whole_text(theirs: Any) -> None:
    """Word by word or at once: the same tokens, but for the first of a byte-level tokenizer."""
    own = theirs()
    mine = SubwordTokenizer(own, VOCABULARY)
    text = "go place1 take place2 place6"
    start = " " if theirs is tokenizer else ""
    whole = own(start + text, add_special_tokens=False)["input_ids"]
    assert [mine.kept[number] for number in mine.encode(text)] == whole


def test_only_tokens_in_use_have_ids() -> None:
    own = tokenizer()
    mine = SubwordTokenizer(own, VOCABULARY)
    assert len(mine) == len(mine.kept) + 6 < 30 < len(own)
    assert mine.specials == ("<pad>", "<domain>", "<goal>", "<state>", "<act>", "<end>")
    assert mine.decode([mine.pad, mine.act, mine.end]) == "<pad> <act> <end>"


def test_a_word_of_known_sub_words_is_encoded_and_another_one_named() -> None:
    mine = SubwordTokenizer(tokenizer(), VOCABULARY)
    assert mine.decode(mine.encode("place11")) == "place11"
    with pytest.raises(ModelError, match="'quartz' is not among the 14 words"):
        mine.encode("go quartz")


@pytest.mark.parametrize("make", [WordTokenizer, lambda w: SubwordTokenizer(tokenizer(), w)])
def test_renaming_words_is_encoding_the_renamed_text(make: Any) -> None:
    mine = make(VOCABULARY)
    renaming = {"place1": "place4", "place4": "place2", "place2": "place1"}
    plain = EncodedTrace.encode(
        mine, "<goal> take place2", ("", "go place4"), ("go place4", "take place1"), renaming
    )
    renamed = EncodedTrace.encode(
        mine, "<goal> take place1", ("", "go place2"), ("go place2", "take place4")
    )
    assert plain == renamed


def test_a_tokenizer_that_ignores_blanks_is_refused() -> None:
    made = Tokenizer(models.BPE())
    made.train_from_iterator(["go to go"], trainers.BpeTrainer(vocab_size=40, show_progress=False))
    with pytest.raises(ModelError, match="does not split texts at blanks"):
        SubwordTokenizer(PreTrainedTokenizerFast(tokenizer_object=made), VOCABULARY)
