"""A word a token: the tokenizer of presets that learn from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from model.errors import ModelError


class WordTokenizer:
    """Maps whitespace-separated words of a fixed vocabulary to ids and back.

    The vocabulary must hold "<pad>" (id 0), "<act>" and "<end>". Words in `joined` stand at the
    position of the word before them: with objects' names and "<end>" joined, an atom such as
    "on block1 block2" and an action are one position each.
    """

    def __init__(self, vocabulary: Sequence[str], joined: Sequence[str] = ()) -> None:
        self.vocabulary = tuple(vocabulary)
        self.joined = tuple(joined)
        self._ids = {word: number for number, word in enumerate(self.vocabulary)}
        if len(self._ids) != len(self.vocabulary):
            raise ModelError("the vocabulary holds a word twice")
        missing = [word for word in ("<pad>", "<act>", "<end>") if word not in self._ids]
        if missing or self.vocabulary[0] != "<pad>":
            raise ModelError(f"a vocabulary must start with <pad> and hold {missing}")
        self.pad = 0
        self.act = self._ids["<act>"]
        self.end = self._ids["<end>"]
        self.joins = torch.zeros(len(self.vocabulary), dtype=torch.bool)
        self.joins[[self._ids[word] for word in self.joined]] = True

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Ids of the text's words; `ModelError` names a word that is not in the vocabulary."""
        try:
            return [self._ids[word] for word in text.split()]
        except KeyError as error:
            raise ModelError(
                f"the word {error.args[0]!r} is not among the {len(self)} words of the vocabulary"
            ) from error

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, separated by blanks."""
        return " ".join(self.vocabulary[number] for number in ids)
