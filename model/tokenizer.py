"""From text to tokens: a word a token, or the sub-words of a pretrained model.

Texts are words separated by blanks, all from one vocabulary that is known beforehand. Either
tokenizer encodes a text word by word, so that names can be exchanged on the way and every word
has the same tokens wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from model.errors import ModelError

SPECIALS = ("<pad>", "<act>", "<end>")
"""Words that every vocabulary must hold, `<pad>` first."""

BEGIN = "<domain>"
"""Where a text begins: what stands before it, in the same episode, is forgotten."""

LONGEST_ACTION = 16
"""Words after which an action that has not ended is cut."""

NO_RENAMING: Mapping[str, str] = {}


class Tokenizer(Protocol):
    """Texts to ids and back; ids are 0 … len - 1."""

    vocabulary: tuple[str, ...]
    pad: int
    act: int
    end: int
    begin: int
    """The id of `<domain>`; -1 in a vocabulary without it."""
    joined: frozenset[int]
    """Ids that stand at the position of the token before them."""
    answers_apart: bool
    """Whether every word of an answer, `<end>` included, stands at a position of its own."""
    longest_action: int  # tokens after which an action that has not ended is cut

    def __len__(self) -> int:
        """How many ids there are."""

    def encode(self, text: str, renaming: Mapping[str, str] = NO_RENAMING) -> list[int]:
        """Ids of the text's words, some exchanged first; `ModelError` on an unknown word."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, its words separated by blanks."""


class WordTokenizer:
    """A word a token: for models that learn from nothing.

    The vocabulary must hold "<pad>" (id 0), "<act>" and "<end>". Words in `joined` stand at the
    position of the word before them: with objects' names and "<end>" joined, an atom such as
    "on block1 block2", or an action, is one position (but an action is not with `answers_apart`).
    """

    def __init__(
        self, vocabulary: Sequence[str], joined: Sequence[str] = (), answers_apart: bool = False
    ) -> None:
        self.vocabulary = _checked(vocabulary)
        self._ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.pad, self.act, self.end = (self._ids[word] for word in SPECIALS)
        self.begin = self._ids.get(BEGIN, -1)
        self.joined = frozenset(self._ids[word] for word in joined)
        self.answers_apart = answers_apart
        self.longest_action = LONGEST_ACTION

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, renaming: Mapping[str, str] = NO_RENAMING) -> list[int]:
        """Ids of the text's words; `ModelError` names a word that is not in the vocabulary."""
        words = [renaming.get(word, word) for word in text.split()] if renaming else text.split()
        try:
            return [self._ids[word] for word in words]
        except KeyError as error:
            raise _unknown(error.args[0], self.vocabulary) from error

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, separated by blanks."""
        return " ".join(self.vocabulary[number] for number in ids)


class SubwordTokenizer:
    """Words as the sub-words of a pretrained model's own tokenizer (ours: only those in use).

    Of its tokens, often 150,000, only those that some word of the vocabulary needs get an id, so
    that embeddings and logits stay small: `kept` are their numbers in the pretrained model, in
    the order of the ids. Words like `<act>` follow, a token each, known to the pretrained model
    or not. A word that is not in the vocabulary is encoded if its sub-words have ids.
    """

    def __init__(self, pretrained: Any, vocabulary: Sequence[str]) -> None:
        self.vocabulary = _checked(vocabulary)
        self._pretrained = pretrained
        self._blank = self._blank_before_words()
        specials = tuple(word for word in self.vocabulary if re.fullmatch(r"<\w+>", word))
        pieces = {word: self._pieces(word) for word in self.vocabulary if word not in specials}
        self.kept = tuple(sorted({piece for found in pieces.values() for piece in found}))
        self.specials = specials
        self._id_of = {piece: number for number, piece in enumerate(self.kept)}
        self._words = {
            word: tuple(self._id_of[piece] for piece in found) for word, found in pieces.items()
        }
        first = len(self.kept)
        self._words |= {word: (first + number,) for number, word in enumerate(specials)}
        self.pad, self.act, self.end = (self._words[word][0] for word in SPECIALS)
        self.begin = self._words[BEGIN][0] if BEGIN in specials else -1
        self.joined: frozenset[int] = frozenset()
        self.answers_apart = False  # nothing is joined
        self.longest_action = 3 * LONGEST_ACTION  # a name such as block12 takes two to four

    def __len__(self) -> int:
        return len(self.kept) + len(self.specials)

    def encode(self, text: str, renaming: Mapping[str, str] = NO_RENAMING) -> list[int]:
        """Ids of the text's sub-words; `ModelError` names a word that has no ids."""
        ids: list[int] = []
        for word in text.split():
            chosen = renaming.get(word, word)
            found = self._words.get(chosen)
            ids.extend(self._learn(chosen) if found is None else found)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; words like `<act>` stand alone."""
        words: list[str] = []
        run: list[int] = []
        for number in ids:
            if number < len(self.kept):
                run.append(self.kept[number])
                continue
            words += [*self._text(run), self.specials[number - len(self.kept)]]
            run = []
        return " ".join([*words, *self._text(run)])

    def known(self, word: str) -> int | None:
        """The number that the pretrained model itself has for a word like `<act>`, if any."""
        number = self._pretrained.get_vocab().get(word)
        return None if number is None else int(number)

    def _text(self, pieces: Sequence[int]) -> list[str]:
        """The words that tokens of the pretrained model spell."""
        if not pieces:
            return []
        text: str = self._pretrained.decode(list(pieces), clean_up_tokenization_spaces=False)
        return text.split()

    def _learn(self, word: str) -> tuple[int, ...]:
        try:
            ids = tuple(self._id_of[piece] for piece in self._pieces(word))
        except KeyError as error:
            raise _unknown(word, self.vocabulary) from error
        self._words[word] = ids
        return ids

    def _pieces(self, word: str) -> tuple[int, ...]:
        pieces = tuple(self._numbers(self._blank + word))
        if self._text(pieces) != [word]:
            raise ModelError(
                f"the tokenizer of the pretrained model cannot write the word {word!r} (it reads "
                f"{' '.join(self._text(pieces))!r}): use another model, or another name"
            )
        return pieces

    def _numbers(self, text: str) -> list[int]:
        numbers: list[int] = self._pretrained(text, add_special_tokens=False)["input_ids"]
        return numbers

    def _blank_before_words(self) -> str:
        """What must stand before a single word to be split as it is within a text."""
        whole = self._numbers("go to go")
        for blank in (" ", ""):
            alone = [self._numbers(word) for word in ("go", f"{blank}to", f"{blank}go")]
            if whole == [piece for found in alone for piece in found]:
                return blank
        raise ModelError(
            "the tokenizer of the pretrained model does not split texts at blanks, which this "
            "program relies on: use a model with a byte-level or a sentencepiece tokenizer"
        )


def _checked(vocabulary: Sequence[str]) -> tuple[str, ...]:
    words = tuple(vocabulary)
    if len(set(words)) != len(words):
        raise ModelError("the vocabulary holds a word twice")
    missing = [word for word in SPECIALS if word not in words]
    if missing or words[0] != "<pad>":
        raise ModelError(f"a vocabulary must start with <pad> and hold {missing}")
    return words


def _unknown(word: str, vocabulary: Sequence[str]) -> ModelError:
    return ModelError(
        f"the word {word!r} is not among the {len(vocabulary)} words of the vocabulary"
    )
