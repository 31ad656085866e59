"""An entry as a bank keeps it: counts, and where in an episode's prompts it comes from.

The layout of the values is told in `bank_step`. An entry's codes are in its procedure's row of a
segment; what it has in common with others of its episode is in its origin.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import redis

from shared_memory.codec import (
    DIGEST_BYTES,
    codes_digest,
    decode,
    unpack_codes,
)
from shared_memory.connection import call, call_all
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, SignKeys
from shared_memory.records import BankEntry, EntryOrigin, Sign
from shared_memory.segments import ROWS

ENTRY = struct.Struct(f">IIQII{DIGEST_BYTES}sHBII")
PROCEDURE = struct.Struct(">QIIII")
KEPT = struct.Struct(">II")
ROW_HEAD = struct.Struct(">QI")
_READ = 1000
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class EntryValue:
    """What a bank keeps under an entry's key."""

    times: int
    version: int  # last seen with
    number: int  # its procedure's, where look-ups may find it
    refused: int
    book_version: int
    origin: bytes
    decision: int
    accepted: bool
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ProcedureValue:
    """What a bank keeps under the digest of a procedure's codes."""

    number: int
    entries: int
    version: int
    slot: int
    solid: int


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An entry with all that belongs to it."""

    key: bytes
    value: EntryValue
    entry: BankEntry


def read_entry_value(key: bytes, value: bytes) -> EntryValue:
    """Raises SharedMemoryError where it is damaged."""
    try:
        times, version, number, refused, book, origin, *where = ENTRY.unpack(value)
    except struct.error as error:
        raise SharedMemoryError(f"entry {named(key)} has damaged counts: {error}") from error
    decision, accepted, start, length = where
    return EntryValue(
        *(times, version, number, refused, book, origin, decision, accepted > 0, start, length)
    )


def read_procedure_value(digest: bytes, value: bytes) -> ProcedureValue:
    """Raises SharedMemoryError where it is damaged."""
    try:
        return ProcedureValue(*PROCEDURE.unpack(value))
    except struct.error as error:
        raise SharedMemoryError(f"procedure {digest.hex()} is damaged: {error}") from error


def named(key: bytes) -> str:
    """An entry's key, for messages."""
    return f"{key[:DIGEST_BYTES].hex()} {key[DIGEST_BYTES:].decode(errors='replace')[:40]!r}"


def action_of(key: bytes) -> str:
    """The action of an entry; raises SharedMemoryError where it is damaged."""
    try:
        return key[DIGEST_BYTES:].decode()
    except UnicodeDecodeError as error:
        raise SharedMemoryError(f"entry {named(key)} has a damaged key: {error}") from error


def row_place(slot: int, width: int) -> tuple[int, int]:
    """Segment and first byte of a slot's row."""
    return slot // ROWS, slot % ROWS * (ROW_HEAD.size + width)


def read_codes(
    client: redis.Redis, keys: SignKeys, digests: Sequence[bytes], width: int
) -> dict[bytes, bytes]:
    """Packed codes of procedures by their digests; none of those that are gone.

    Raises SharedMemoryError where a row does not have the codes of its digest.
    """
    found: dict[bytes, bytes] = {}
    wanted = list(digests)
    for _ in range(_ATTEMPTS):
        if not wanted:
            return found
        values = call(client, "HMGET", keys.procedures, *wanted)
        held = [
            (digest, read_procedure_value(digest, value).slot)
            for digest, value in zip(wanted, values, strict=True)
            if value is not None
        ]
        commands: list[tuple[str | int, ...]] = []
        for _, slot in held:
            index, first = row_place(slot, width)
            first += ROW_HEAD.size
            commands.append(("GETRANGE", keys.segment(index), first, first + width - 1))
        wanted = []  # of these the slot was given to another meanwhile, or the bank is damaged
        for (digest, _), codes in zip(held, call_all(client, commands), strict=True):
            if codes_digest(codes) == digest:
                found[digest] = codes
            else:
                wanted.append(digest)
    raise SharedMemoryError(
        f"procedure {wanted[0].hex()} does not have the codes of its digest; start a new run"
    )


def read_entries(
    client: redis.Redis,
    keys: DomainKeys,
    sign: Sign,
    pairs: Iterable[tuple[bytes, bytes]],
    width: int,
) -> Iterator[ReadEntry]:
    """The entries of these keys and values; what was retired meanwhile is left out.

    Raises SharedMemoryError where one is damaged.
    """
    some: list[tuple[bytes, bytes]] = []
    for pair in pairs:
        some.append(pair)
        if len(some) == _READ:
            yield from _read_some(client, keys, sign, some, width)
            some = []
    yield from _read_some(client, keys, sign, some, width)


def _read_some(
    client: redis.Redis,
    keys: DomainKeys,
    sign: Sign,
    pairs: Sequence[tuple[bytes, bytes]],
    width: int,
) -> Iterator[ReadEntry]:
    if not pairs:
        return
    held = keys.sign(sign)
    values = [(key, read_entry_value(key, value)) for key, value in pairs]
    digests = list(dict.fromkeys(key[:DIGEST_BYTES] for key, _ in values))
    codes = read_codes(client, held, digests, width)
    wanted = list(dict.fromkeys(value.origin for _, value in values))
    records = call(client, "HMGET", held.origins, *wanted)
    origins = {
        digest: decode(EntryOrigin, record)
        for digest, record in zip(wanted, records, strict=True)
        if record is not None
    }
    for key, value in values:
        mine, origin = codes.get(key[:DIGEST_BYTES]), origins.get(value.origin)
        if mine is None or origin is None:
            if call(client, "HEXISTS", held.entries, key):
                what = "codes" if mine is None else "origin"
                raise SharedMemoryError(f"entry {named(key)} has no {what}")
            continue
        yield ReadEntry(key, value, assembled(key, value, origin, mine))


def assembled(key: bytes, value: EntryValue, origin: EntryOrigin, codes: bytes) -> BankEntry:
    """The entry of a value, its origin, and its codes."""
    tokens = origin.tokens[value.start : value.start + value.length]
    if len(tokens) != value.length:
        raise SharedMemoryError(f"entry {named(key)} has a prompt beyond its origin's tokens")
    return BankEntry(
        codes=unpack_codes(codes),
        action=action_of(key),
        success=origin.success,
        domain=origin.domain,
        phase=origin.phase,
        task_index=origin.task_index,
        task_digest=origin.task_digest,
        episode=origin.episode,
        decision=value.decision,
        book_version=value.book_version,
        accepted=value.accepted,
        prompt_tokens=tokens,
    )
