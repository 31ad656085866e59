"""Episodes as one step of the server takes them: what is common to them is encoded once.

An actor's decisions share nearly all of what is said of them: their task, their episode, and the
beginning of their prompts. So an episode is encoded as one event for the outcome log and one origin
(a record with its prompts, one after another where none continues the last); and what several
decisions submit is one row: how often, and where the first of them comes from.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise

import msgpack
import numpy as np

from shared_memory.codec import (
    DIGEST_BYTES,
    MAX_CODES,
    MAX_DECISIONS,
    MAX_NAME,
    codes_digest,
    encode,
    encode_with_items,
    pack_codes,
)
from shared_memory.connection import Argument
from shared_memory.errors import SharedMemoryError
from shared_memory.records import Codes, Decision, EntryOrigin, Episode
from shared_memory.token_packing import MAX_TOKENS

DETAIL = struct.Struct(f">{DIGEST_BYTES}sHBII")
"""Origin, decision, accepted, first token of its prompt there, tokens."""
ROW = struct.Struct(f">IIIHI{DIGEST_BYTES}sHBII")
"""Times, last version, times refused, first episode, its book version, and its detail."""
_MOST_KNOWN_ACTIONS = 4096
_UINT16 = np.dtype(np.uint16)
_TRUE_NO_TOKENS, _FALSE_NO_TOKENS = b"\xc3\x90", b"\xc2\x90"
_FIVE = b"\x95"


@dataclass(frozen=True, slots=True)
class EncodedEpisodes:
    """What a step is told of episodes."""

    origins: list[Argument]  # how many, then the digest and the record of each
    episodes: list[Argument]  # how many, then number, sign 1|2, event and procedures of each
    rows: list[Argument]  # for each sign how many, `ROW`s, codes; then the keys of all
    width: int  # of the procedures' codes in bytes; 0 where there is none


@dataclass(slots=True)
class _Row:
    """What a batch submits of one entry, and where its first submission comes from."""

    times: int
    version: int
    refused: int
    episode: int
    book: int
    origins: list[bytes]  # digests, known once the whole episode is
    origin: int
    decision: int
    accepted: bool
    start: int
    length: int
    codes: bytes


class Prompts:
    """Prompts of one episode laid out in as few origins and tokens as they need.

    A prompt that continues the last one, or begins it, shares its tokens. An origin has at most
    `most` tokens, as a prompt has.
    """

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._closed: list[tuple[int, ...]] = []  # of the origin that is being filled
        self._last: tuple[int, ...] = ()
        self._start = 0
        self._origins: list[tuple[int, ...]] = []

    def place(self, tokens: tuple[int, ...]) -> tuple[int, int]:
        """Where this prompt will be: which origin, and its first token there."""
        last = self._last
        continues = tokens[: len(last)] == last
        if not continues and last[: len(tokens)] == tokens:
            return len(self._origins), self._start
        if not continues:
            self._start += len(last)
        if self._start and self._start + len(tokens) > self._most:
            self._origins.append(tuple(chain(*self._closed, last)))
            self._closed, self._start = [], 0
        elif not continues:
            self._closed.append(last)
        self._last = tokens
        return len(self._origins), self._start

    def origins(self) -> list[tuple[int, ...]]:
        """The tokens of each origin."""
        last = tuple(chain(*self._closed, self._last)) if self._closed else self._last
        return [*self._origins, last]


def encode_origins(origin: EntryOrigin, prompts: Prompts) -> list[tuple[bytes, bytes]]:
    """(digest, record) of the origins of one episode."""
    records = [encode(replace(origin, tokens=tokens)) for tokens in prompts.origins()]
    return [
        (hashlib.blake2b(record, digest_size=DIGEST_BYTES).digest(), record) for record in records
    ]


class EpisodeEncoder:
    """Encodes episodes; remembers the actions that it has seen."""

    def __init__(self) -> None:
        self._actions: dict[str, tuple[bytes, bytes]] = {}

    def encode(self, episodes: Sequence[Episode]) -> EncodedEpisodes:
        """Raises SharedMemoryError where a field has a wrong type or is out of range, or codes
        are not equally many."""
        origins: list[Argument] = [0]
        arguments: list[Argument] = [len(episodes)]
        banks: tuple[dict[bytes, _Row], ...] = ({}, {})
        width = 0
        for place, episode in enumerate(episodes):
            packed = _packed_codes(episode)
            mine = max(map(len, packed), default=0)
            if width and mine and mine != width:
                raise SharedMemoryError(
                    "procedures of one batch must have the same number of codes, not "
                    f"{sorted((width // 2, mine // 2))}"
                )
            width = width or mine
            sign = 1 if episode.success else 2
            event = self._encode_one(episode, place, packed, banks[sign - 1], origins)
            arguments += (episode.episode, sign, event, sum(map(bool, packed)))
        origins[0] = (len(origins) - 1) // 2
        rows: list[Argument] = []
        for bank in banks:
            values = bank.values()
            rows += (len(bank), _rows(values), b"".join([row.codes for row in values]))
        return EncodedEpisodes(origins, arguments, [*rows, *banks[0], *banks[1]], width)

    def _encode_one(
        self,
        episode: Episode,
        place: int,
        packed: list[bytes],
        rows: dict[bytes, _Row],
        origins: list[Argument],
    ) -> bytes:
        """Put an episode's decisions into the rows of its bank; its event."""
        prompts, version = Prompts(), episode.book_version
        events: list[bytes] = []
        digests: list[bytes] = []
        header = _bytes_header(max(map(len, packed), default=0))
        for decision, codes in zip(episode.decisions, packed, strict=True):
            number, accepted, tokens = decision.number, decision.accepted, decision.prompt_tokens
            if (
                type(number) is not int
                or not 0 <= number <= MAX_DECISIONS
                or type(accepted) is not bool
                or type(tokens) is not tuple
                or len(tokens) > MAX_TOKENS
            ):
                raise _refusal(decision)
            action, action_value = self._actions.get(decision.action) or self._action(decision)
            number_value = bytes((number,)) if number < 128 else msgpack.packb(number)
            end = _TRUE_NO_TOKENS if accepted else _FALSE_NO_TOKENS
            events += (_FIVE, number_value, header if codes else b"\xc4\x00", codes)
            events += (action_value, end)
            if not codes:
                continue
            origin, start = prompts.place(tokens)
            key = codes_digest(codes) + action
            row = rows.get(key)
            if row is None:
                rows[key] = _Row(
                    *(1, version, not accepted, place, version, digests, origin),
                    *(number, accepted, start, len(tokens), codes),
                )
            else:
                row.times += 1
                row.refused += not accepted
                row.version = max(row.version, version)
        event = (
            encode(episode)  # somebody wants to read it, prompts and all
            if episode.near
            else encode_with_items(episode, "decisions", b"".join(events), len(packed))
        )
        if any(packed):
            for digest, record in encode_origins(
                EntryOrigin(
                    success=episode.success,
                    domain=episode.domain,
                    phase=episode.phase,
                    task_index=episode.task_index,
                    task_digest=episode.task_digest,
                    episode=episode.episode,
                    tokens=(),
                ),
                prompts,
            ):
                digests.append(digest)
                origins += (digest, record)
        return event

    def _action(self, decision: Decision) -> tuple[bytes, bytes]:
        """The action as bytes and as a msgpack value."""
        action = decision.action
        if not isinstance(action, str) or len(action) > MAX_NAME:
            raise _refusal(decision)
        try:
            both = action.encode(), msgpack.packb(action)
        except UnicodeEncodeError:
            raise _refusal(decision) from None
        if len(self._actions) >= _MOST_KNOWN_ACTIONS:
            self._actions.clear()
        self._actions[action] = both
        return both


def _rows(rows: Iterable[_Row]) -> bytes:
    pack = ROW.pack
    return b"".join(
        [
            pack(
                *(row.times, row.version, row.refused, row.episode, row.book),
                *(row.origins[row.origin], row.decision, row.accepted, row.start, row.length),
            )
            for row in rows
        ]
    )


def _packed_codes(episode: Episode) -> list[bytes]:
    """The codes of each decision as bytes; none where a decision has no procedure."""
    if len(episode.decisions) > MAX_DECISIONS:
        raise SharedMemoryError(
            f"this Episode cannot be written to shared memory: it has {len(episode.decisions)} "
            f"decisions, more than {MAX_DECISIONS}"
        )
    codes: list[Codes] = [decision.codes for decision in episode.decisions]
    for each in codes:
        if each.dtype != _UINT16 or each.ndim != 1:
            pack_codes(each)  # says what is wrong
    sizes = [2 * each.size for each in codes]
    widths = set(sizes) - {0}
    if len(widths) > 1:
        raise SharedMemoryError(
            "procedures of one batch must have the same number of codes, not "
            f"{sorted(width // 2 for width in widths)}"
        )
    if not widths:
        return [b""] * len(codes)
    if max(widths) > 2 * MAX_CODES:
        pack_codes(codes[sizes.index(max(widths))])  # says what is wrong
    payload = np.concatenate(codes).astype(">u2").tobytes()
    ends = [0, *accumulate(sizes)]
    return [payload[start:end] for start, end in pairwise(ends)]


def _bytes_header(size: int) -> bytes:
    """What msgpack puts before so many bytes."""
    value: bytes = msgpack.packb(bytes(size))
    return value[: len(value) - size]


def _refusal(decision: Decision) -> SharedMemoryError:
    """Why a decision cannot be written."""
    try:
        encode(replace(decision, prompt_tokens=tuple(decision.prompt_tokens)))
    except SharedMemoryError as error:
        return error
    return SharedMemoryError(
        "this Decision cannot be written to shared memory: its prompt_tokens must be a tuple"
    )
