"""A bank in one file: everything that a run's banks hold, to be kept, moved and restored.

The file is a magic line, a header, one msgpack array an entry, and the BLAKE2b checksum of all
that; entries are in order of domain, bank, origin and prompt, so that the same banks give the same
file and entries of one episode stand together.
Nothing of a file is taken in before its checksum has been compared. Taking one in is done in
numbered batches, each in one step of the server, so that an import that broke off can be repeated
and counts nothing twice. Entries that the bank has already have their counts added, or, where the
bank's own file is restored, keep the larger.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import msgpack
import redis

from configs.schema import BankConfig
from shared_memory.bank import refuse_unfit, step_arguments, step_keys
from shared_memory.bank_entry import read_entries, read_entry_value
from shared_memory.bank_scripts import RESTORE
from shared_memory.bank_statistics import bank_width
from shared_memory.codec import (
    MAX_BYTES,
    MAX_CODES,
    MAX_NAME,
    MAX_VERSION,
    decode,
    encode,
    entry_key,
    pack_codes,
)
from shared_memory.connection import call, members, push_back
from shared_memory.episode_encoding import DETAIL, Prompts, encode_origins
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.records import SIGNS, BankEntry, EntryOrigin, Sign
from shared_memory.weights import PublishedWeights

FORMAT = 1
_MAGIC = b"nesypr bank\n"
_CHECKSUM_BYTES = 32
_READ_BYTES = 1024 * 1024
_ROWS_A_STEP = 500
_MOST_TIMES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class BankFile:
    """What a bank's file says of itself. `weights` is the digest of the book's version."""

    path: Path
    run: str
    version: int  # the latest version when it was written; -1: none was published
    weights: str
    entries: int
    bytes: int
    checksum: str  # hexadecimal


@dataclass(frozen=True, slots=True)
class FiledEntry:
    """One entry as a file has it. `record` is the bank's: its codes, then the entry's bytes."""

    domain: str
    sign: Sign
    times: int
    refused: int
    version: int
    width: int  # of the codes, in bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Restored:
    """What an import did: entries = added + merged + before."""

    entries: int  # that the file has
    added: int  # that the banks did not have
    merged: int  # that they had: their counts were added, or the larger taken
    before: int  # that an earlier import of this file had taken in: left as they are


def export_banks(client: redis.Redis, run: str, domains: tuple[str, ...], path: Path) -> BankFile:
    """Write all entries of these domains' banks to a new file.

    Meant for a bank at rest: what actors write meanwhile may or may not be in it. The file appears
    whole or not at all. Raises SharedMemoryError where it cannot be written.
    """
    weights = PublishedWeights(client, run)
    published = None if weights.latest_version() is None else weights.describe()
    version, digest = (published.version, published.digest) if published else (-1, "")
    header = ["bank", FORMAT, run, version, digest]
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            writer = _Writer(file)
            writer.write(_MAGIC)
            writer.write(msgpack.packb(header))
            entries = 0
            for domain in domains:
                for sign in SIGNS:
                    for row in _held_rows(client, RunKeys(run).domain(domain), sign):
                        writer.write(row)
                        entries += 1
            checksum = writer.digest.digest()
            file.write(checksum)
            file.flush()
            os.fsync(file.fileno())
        size = partial.stat().st_size
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SharedMemoryError(f"{path} cannot be written: {error.strerror}") from error
    return BankFile(path, run, version, digest, entries, size, checksum.hex())


def read_header(path: Path) -> BankFile:
    """Check a file's checksum and all its rows; what it says of itself.

    Raises SharedMemoryError where it is damaged, cut short, of a later format, or no such file.
    """
    with _opened(path) as file:
        checksum = _checked(file, path)
        values = _values(file, path)
        header = next(values, None)
        fits = (
            isinstance(header, list)
            and len(header) == 5
            and header[0] == "bank"
            and all(isinstance(header[place], str) for place in (2, 4))
            and all(type(header[place]) is int for place in (1, 3))
        )
        if not fits or not isinstance(header, list):
            raise SharedMemoryError(f"{path} has no header: it is not what bank export writes")
        if header[1] != FORMAT:
            raise SharedMemoryError(
                f"{path} is of format {header[1]}, but this program reads format {FORMAT}"
            )
        rows = 0
        for row in values:
            _filed(row, path)
            rows += 1
    return BankFile(path, header[2], header[3], header[4], rows, path.stat().st_size, checksum)


def filed_entries(path: Path) -> Iterator[FiledEntry]:
    """The entries of a file whose header was read, in its order."""
    with _opened(path) as file:
        file.seek(len(_MAGIC))
        values = _values(file, path)
        next(values)
        for row in values:
            yield _filed(row, path)


def import_banks(
    client: redis.Redis,
    run: str,
    config: BankConfig,
    filed: BankFile,
    *,
    restore: bool = False,
    begun: Mapping[str, BankConfig] | None = None,
    deadline_s: float = 60.0,
) -> Restored:
    """Add a file's entries to the banks of a run; may be repeated where it broke off.

    With `restore` counts are not added, but the larger of the two stays, and entries that have gone
    since an earlier import of this file come back. Versions of another run's book mean nothing in
    this one: its entries count as seen with the version before the latest. The banks' budgets hold:
    what is too much retires. `begun` has the settings of domains that keep to others than `config`.

    Raises SharedMemoryError where the banks hold procedures of another width, and ServerFullError
    where the server stays at its memory limit for longer than the deadline.
    """
    added = merged = before = 0
    guard = "" if restore else f"import:{filed.checksum}"
    version = _known_version(client, run, filed)
    for number, batch in enumerate(_batches(filed_entries(filed.path))):
        keys = RunKeys(run).domain(batch[0].domain)
        mine = (begun or {}).get(keys.name, config)
        reply = push_back(
            partial(_restore, client, keys, mine, (guard, number), batch, version), deadline_s
        )
        refuse_unfit(reply, keys, batch[0].width, mine)
        fresh, known = int(reply[1]), int(reply[2])
        added += fresh
        merged += known
        before += len(batch) - fresh - known
    return Restored(filed.entries, added, merged, before)


def _known_version(client: redis.Redis, run: str, filed: BankFile) -> int | None:
    """The version of this run that a file's entries count as seen with; None: each its own."""
    if filed.run == run:
        return None
    latest = PublishedWeights(client, run).latest_version()
    return max(0, (latest or 0) - 1)


def _restore(
    client: redis.Redis,
    keys: DomainKeys,
    config: BankConfig,
    guard: tuple[str, int],
    batch: list[FiledEntry],
    version: int | None,
) -> Any:
    call(client, "SADD", RunKeys(keys.run).domains, keys.name)
    sign = SIGNS.index(batch[0].sign) + 1
    arguments = [*step_arguments(batch[0].width, config), sign, *guard]
    entries = [stored_entry(each.record, each.width) for each in batch]
    origins: dict[bytes, bytes] = {}
    places: list[tuple[bytes, int]] = []
    for _, group in groupby(entries, _origin_of):
        prompts, mine = Prompts(), list(group)
        placed = [prompts.place(entry.prompt_tokens) for entry in mine]
        found = encode_origins(_origin_of(mine[0]), prompts)
        origins.update(found)
        places.extend((found[which][0], start) for which, start in placed)
    arguments.append(len(origins))
    for pair in origins.items():
        arguments.extend(pair)
    arguments.append(len(batch))
    for each, entry, (origin, start) in zip(batch, entries, places, strict=True):
        codes = each.record[: each.width]
        detail = (origin, entry.decision, entry.accepted, start, len(entry.prompt_tokens))
        arguments.extend((entry_key(codes, entry.action), codes, each.times, each.refused))
        seen_with = each.version if version is None else version
        arguments.extend((seen_with, entry.book_version, DETAIL.pack(*detail)))
    return RESTORE.run(client, step_keys(keys), arguments)


def _origin_of(entry: BankEntry) -> EntryOrigin:
    """What an entry has in common with those of the same episode, without its prompt."""
    return EntryOrigin(
        success=entry.success,
        domain=entry.domain,
        phase=entry.phase,
        task_index=entry.task_index,
        task_digest=entry.task_digest,
        episode=entry.episode,
        tokens=(),
    )


def _batches(entries: Iterator[FiledEntry]) -> Iterator[list[FiledEntry]]:
    """Runs of entries of one bank and width."""
    batch: list[FiledEntry] = []
    for entry in entries:
        same = batch and (
            (entry.domain, entry.sign, entry.width)
            == (batch[0].domain, batch[0].sign, batch[0].width)
        )
        if batch and (not same or len(batch) == _ROWS_A_STEP):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _held_rows(client: redis.Redis, keys: DomainKeys, sign: Sign) -> Iterator[bytes]:
    """A bank's entries as rows of the file: those of one origin together, by their prompts."""
    held, width = keys.sign(sign), bank_width(client, keys)
    order: list[tuple[bytes, int, int, bytes]] = []
    for key, value in members(client, held.entries):
        found = read_entry_value(key, value)
        order.append((found.origin, found.start, found.length, key))
    order.sort()
    for start in range(0, len(order), _ROWS_A_STEP):
        names = [key for *_, key in order[start : start + _ROWS_A_STEP]]
        values = call(client, "HMGET", held.entries, *names)
        pairs = [pair for pair in zip(names, values, strict=True) if pair[1] is not None]
        for read in read_entries(client, keys, sign, pairs, width):
            place: list[Any] = [keys.name, SIGNS.index(sign), read.value.times, read.value.refused]
            record = pack_codes(read.entry.codes) + encode(read.entry)
            row: bytes = msgpack.packb([*place, read.value.version, width, record])
            yield row


def stored_entry(record: bytes, width: int) -> BankEntry:
    """The entry of a file's record: its codes in `width` bytes, then the record itself."""
    entry = decode(BankEntry, record[width:])
    if pack_codes(entry.codes) != record[:width]:
        raise SharedMemoryError("the record does not start with its codes")
    return entry


class _Writer:
    """Writes and digests at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)

    def write(self, payload: bytes) -> None:
        self.digest.update(payload)
        self._file.write(payload)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SharedMemoryError(f"{path} cannot be read: {error.strerror}") from error


def _checked(file: IO[bytes], path: Path) -> str:
    """The file's checksum, compared; `file` then stands after the magic line."""
    left = os.fstat(file.fileno()).st_size - _CHECKSUM_BYTES
    if file.read(len(_MAGIC)) != _MAGIC:
        raise SharedMemoryError(f"{path} is no bank's file: it is not what bank export writes")
    digest = hashlib.blake2b(_MAGIC, digest_size=_CHECKSUM_BYTES)
    left -= len(_MAGIC)
    while left > 0:
        payload = file.read(min(left, _READ_BYTES))
        if not payload:
            break
        digest.update(payload)
        left -= len(payload)
    if left != 0 or file.read() != digest.digest():
        raise SharedMemoryError(
            f"{path} is damaged: its checksum does not fit its content (was it cut short?)"
        )
    file.seek(len(_MAGIC))
    return digest.hexdigest()


def _values(file: IO[bytes], path: Path) -> Iterator[Any]:
    """The msgpack values between the magic line and the checksum, with limits on everything."""
    left = os.fstat(file.fileno()).st_size - _CHECKSUM_BYTES - file.tell()
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=True,
        use_list=True,
        max_buffer_size=2 * MAX_BYTES,
        max_str_len=4 * MAX_NAME,
        max_bin_len=MAX_BYTES,
        max_array_len=16,
        max_map_len=0,
        max_ext_len=0,
    )
    try:
        while left > 0:
            payload = file.read(min(left, _READ_BYTES))
            left -= len(payload)
            if not payload:
                break
            unpacker.feed(payload)
            yield from unpacker
    except (msgpack.UnpackException, ValueError, TypeError) as error:
        raise SharedMemoryError(f"{path} is not msgpack within the limits: {error}") from error


def _filed(row: Any, path: Path) -> FiledEntry:
    """A row of a file, checked in every part."""
    limits = (1, _MOST_TIMES, _MOST_TIMES, MAX_VERSION, 2 * MAX_CODES)
    fits = (
        isinstance(row, list)
        and len(row) == 7
        and isinstance(row[0], str)
        and all(type(value) is int and 0 <= value <= most for value, most in zip(row[1:6], limits))
        and row[2] > 0
        and row[5] % 2 == 0
        and isinstance(row[6], bytes)
    )
    if not fits:
        raise SharedMemoryError(f"{path} has a row that is no entry of a bank")
    domain, sign, times, refused, version, width, record = row
    entry = stored_entry(record, width)
    if entry.domain != domain or entry.success != (sign == 0):
        raise SharedMemoryError(f"{path} files an entry of another bank under {domain!r}")
    return FiledEntry(domain, SIGNS[sign], times, refused, version, width, record)
