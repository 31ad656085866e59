"""Episodes are encoded once, and read back as what they were."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as some

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.codec import decode, encode, pack_codes
from shared_memory.episode_encoding import ROW, EpisodeEncoder, Prompts
from shared_memory.errors import SharedMemoryError
from shared_memory.records import Decision, EntryOrigin, Episode
from shared_memory.segments import row_layout
from shared_memory.token_packing import MAX_TOKENS

EpisodeMaker = Callable[..., Episode]
NONE = np.empty(0, dtype=np.uint16)


def with_prompts(episode: Episode, *prompts: tuple[int, ...]) -> Episode:
    decisions = tuple(
        dataclasses.replace(decision, prompt_tokens=prompt)
        for decision, prompt in zip(episode.decisions, prompts, strict=True)
    )
    return dataclasses.replace(episode, decisions=decisions)


def test_the_event_is_what_the_codec_makes_of_the_episode(make_episode: EpisodeMaker) -> None:
    first = make_episode(1, decisions=3)
    mixed = dataclasses.replace(first.decisions[1], codes=NONE, accepted=False, number=300)
    odd = dataclasses.replace(mixed, action="ünusual ⌘ action" * 4, number=9999)
    wide = make_episode(2, decisions=2, chunks=200)
    for episode in (
        first,
        wide,
        dataclasses.replace(first, decisions=(first.decisions[0], mixed, odd)),
        dataclasses.replace(first, decisions=()),
        dataclasses.replace(first, decisions=(mixed,)),
        dataclasses.replace(first, near=("success",) * 3, alone=("go",)),
    ):
        encoded = EpisodeEncoder().encode([episode])
        event = encoded.episodes[3]
        slim = episode
        if not episode.near:
            bare = tuple(dataclasses.replace(d, prompt_tokens=()) for d in episode.decisions)
            slim = dataclasses.replace(episode, decisions=bare)
        assert event == encode(slim)
        assert encoded.episodes[4] == episode.procedures


@pytest.mark.parametrize(
    ("prompts", "tokens"),
    [
        (((1, 2), (1, 2, 3), (1, 2, 3, 4)), (1, 2, 3, 4)),
        (((1, 2), (1, 2), (1,)), (1, 2)),
        (((1, 2), (3,), (3, 4)), (1, 2, 3, 4)),
        (((1, 2), (3,), (1, 2)), (1, 2, 3, 1, 2)),
        (((), (7,), ()), (7,)),
    ],
)
def test_prompts_that_go_on_share_their_tokens(
    make_episode: EpisodeMaker, prompts: tuple[tuple[int, ...], ...], tokens: tuple[int, ...]
) -> None:
    encoded = EpisodeEncoder().encode([with_prompts(make_episode(1, decisions=3), *prompts)])
    assert encoded.origins[0] == 1
    record = encoded.origins[2]
    assert isinstance(record, bytes)
    origin = decode(EntryOrigin, record)
    assert origin.tokens == tokens
    count, rows = encoded.rows[:2]
    assert isinstance(rows, bytes)
    assert count == len(prompts)
    for prompt, row in zip(prompts, ROW.iter_unpack(rows), strict=True):
        *_, digest, _, _, start, length = row
        assert digest == encoded.origins[1]
        assert origin.tokens[start : start + length] == prompt


def test_what_is_submitted_again_is_one_row(make_episode: EpisodeMaker) -> None:
    first = make_episode(1, decisions=2, version=3, codes=50)
    again = dataclasses.replace(first, episode=2, book_version=5)
    refused = dataclasses.replace(first.decisions[0], accepted=False)
    again = dataclasses.replace(again, decisions=(refused, *first.decisions))
    failed = make_episode(3, decisions=1, success=False)
    encoded = EpisodeEncoder().encode([first, again, failed])
    many, rows, codes, few, _, _, *keys = encoded.rows
    assert (many, few, len(set(keys))) == (2, 1, 3)
    assert isinstance(rows, bytes)
    assert isinstance(codes, bytes)
    assert codes == b"".join(pack_codes(decision.codes) for decision in first.decisions)
    assert [row[:5] for row in ROW.iter_unpack(rows)] == [(3, 5, 1, 0, 3), (2, 5, 0, 0, 3)]


def test_long_episodes_have_several_origins() -> None:
    prompts = Prompts()
    long = tuple(range(MAX_TOKENS - 1))
    places = [prompts.place(long), prompts.place((5, 6)), prompts.place((5, 6, 7))]
    assert places == [(0, 0), (1, 0), (1, 0)]
    assert prompts.origins() == [long, (5, 6, 7)]


@given(some.lists(some.lists(some.integers(0, 1), max_size=6).map(tuple), max_size=12))
@example([(1,), (2,), (2, 3, 3, 3, 3, 3)])  # an origin is full where a prompt is continued
def test_every_prompt_is_where_it_was_placed(prompts: list[tuple[int, ...]]) -> None:
    layout = Prompts(most=6)
    places = [layout.place(prompt) for prompt in prompts]
    origins = layout.origins()
    for prompt, (origin, start) in zip(prompts, places, strict=True):
        assert origins[origin][start : start + len(prompt)] == prompt
    assert max(map(len, origins)) <= 6


def test_a_bank_gives_back_what_was_pushed(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    episode = with_prompts(make_episode(1, decisions=3, codes=50), (1, 300), (9,), (9, 70000))
    bank = Bank(client, "run", BankConfig())
    bank.push([episode])
    held = {entry.entry.decision: entry.entry for _, entry in bank.entries("blocks", "success")}
    for decision in episode.decisions:
        entry = held[decision.number]
        assert entry.codes.tolist() == decision.codes.tolist()
        assert (entry.action, entry.prompt_tokens, entry.accepted) == (
            *(decision.action, decision.prompt_tokens, decision.accepted),
        )
        assert (entry.episode, entry.book_version, entry.task_digest) == (
            *(episode.episode, episode.book_version, episode.task_digest),
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": -1}, "number must be"),
        ({"number": 1.0}, "number must be"),
        ({"accepted": 1}, "accepted must be"),
        ({"action": "x" * 2000}, "action must be"),
        ({"action": b"go"}, "action must be"),
        ({"action": "\ud800"}, "cannot be written"),
        ({"prompt_tokens": (-1,)}, "prompt_tokens must be"),
        ({"prompt_tokens": (2**31,)}, "prompt_tokens must be"),
        ({"prompt_tokens": ("a",)}, "prompt_tokens must be"),
        ({"prompt_tokens": [1]}, "must be a tuple"),
        ({"prompt_tokens": (1,) * (MAX_TOKENS + 1)}, "prompt_tokens must be"),
        ({"codes": np.zeros((2, 3), dtype=np.uint16)}, "uint16"),
        ({"codes": np.zeros(6, dtype=np.uint8)}, "uint16"),
        ({"codes": np.zeros(5000, dtype=np.uint16)}, "1 to 4096 codes"),
    ],
)
def test_what_the_codec_would_refuse_is_refused(
    make_episode: EpisodeMaker, change: dict[str, Any], words: str
) -> None:
    episode = make_episode(1, decisions=1)
    decision: Decision = dataclasses.replace(episode.decisions[0], **change)
    with pytest.raises(SharedMemoryError, match=words):
        EpisodeEncoder().encode([dataclasses.replace(episode, decisions=(decision,))])


def test_rows_of_a_segment() -> None:
    assert row_layout(128).itemsize == 12 + 128
