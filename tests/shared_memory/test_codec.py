"""Records survive the way through bytes; anything else is refused."""

import dataclasses
import zlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shared_memory import codec, token_packing
from shared_memory.codec import decode, encode
from shared_memory.errors import SharedMemoryError
from shared_memory.records import (
    BankEntry,
    Decision,
    Episode,
    PlanOutcomeRecord,
    PlanRequest,
    Trace,
)

texts = some.text(max_size=20).filter(lambda text: text.isprintable())
wholes = some.integers(0, 2**27 - 1)
versions = some.integers(0, 2**31 - 1)
reals = some.floats(allow_nan=False, allow_infinity=False)
tokens = some.lists(some.integers(0, 2**31 - 1), max_size=5).map(tuple)
codes = some.lists(some.integers(0, 65535), min_size=1, max_size=8).map(
    lambda values: np.array(values, dtype=np.uint16)
)
decisions = some.builds(
    Decision,
    number=some.integers(0, 10_000),
    codes=codes,
    action=texts,
    accepted=some.booleans(),
    prompt_tokens=tokens,
)
records: some.SearchStrategy[Any] = some.one_of(
    some.builds(
        Episode,
        episode=wholes,
        task_index=some.integers(-1, 2**27 - 1),
        task_digest=texts,
        domain=texts,
        phase=versions,
        book_version=versions,
        success=some.booleans(),
        conditions_met=versions,
        conditions=versions,
        steps=versions,
        decisions=some.lists(decisions, max_size=3).map(tuple),
        actor=texts,
        seconds=reals,
        hits_success=versions,
        hits_failure=versions,
    ),
    some.builds(
        PlanRequest,
        task_index=wholes,
        task_digest=texts,
        domain=texts,
        phase=versions,
        problem=texts,
        origin=texts,
        failed=some.booleans(),
    ),
    some.builds(
        Trace,
        task_index=some.integers(-1, 2**27 - 1),
        task_digest=texts,
        domain=texts,
        phase=versions,
        teacher=texts,
        prompt=texts,
        observations=some.lists(texts, max_size=3).map(tuple),
        actions=some.lists(texts, max_size=3).map(tuple),
    ),
    some.builds(
        PlanOutcomeRecord,
        task_index=some.integers(-1, 2**27 - 1),
        task_digest=texts,
        domain=texts,
        phase=versions,
        planner=texts,
        status=texts,
        cost=some.integers(-1, 1000),
        seconds=reals,
        failed=some.booleans(),
        traced=some.booleans(),
    ),
    some.builds(
        BankEntry,
        codes=codes,
        action=texts,
        success=some.booleans(),
        domain=texts,
        phase=versions,
        task_index=some.integers(-1, 2**27 - 1),
        task_digest=texts,
        episode=wholes,
        decision=some.integers(0, 10_000),
        book_version=versions,
        accepted=some.booleans(),
        prompt_tokens=tokens,
    ),
)


def as_values(record: Any) -> Any:
    """The record as comparable values."""
    if isinstance(record, np.ndarray):
        return (str(record.dtype), record.tolist())
    if isinstance(record, tuple):
        return tuple(as_values(value) for value in record)
    if dataclasses.is_dataclass(record):
        return {
            field.name: as_values(getattr(record, field.name))
            for field in dataclasses.fields(record)
        }
    return record


@settings(deadline=None)
@given(records)
def test_round_trip(record: Any) -> None:
    assert as_values(decode(type(record), encode(record))) == as_values(record)


@settings(max_examples=150, deadline=None)
@given(records, some.data())
def test_mutated_bytes_are_refused_or_valid(record: Any, data: some.DataObject) -> None:
    payload = bytearray(encode(record))
    for _ in range(data.draw(some.integers(1, 4))):
        place = data.draw(some.integers(0, len(payload) - 1))
        payload[place] = data.draw(some.integers(0, 255))
    cut = data.draw(some.integers(0, len(payload)))
    for mutated in (bytes(payload), bytes(payload[:cut])):
        try:
            again = decode(type(record), mutated)
        except SharedMemoryError:
            continue
        assert as_values(decode(type(record), encode(again))) == as_values(again)


@settings(max_examples=150, deadline=None)
@given(some.binary(max_size=200))
def test_random_bytes_are_refused(payload: bytes) -> None:
    for kind in (Episode, PlanRequest, Trace, PlanOutcomeRecord, BankEntry, Decision):
        with pytest.raises(SharedMemoryError):
            decode(kind, payload)


OUTCOME = PlanOutcomeRecord(1, "d", "blocks", 0, "astar", "solved", 3, 0.5, True, True)


def test_an_outcome_of_schema_version_1_was_not_cached() -> None:
    values = msgpack.unpackb(encode(dataclasses.replace(OUTCOME, cached=True)))
    assert decode(PlanOutcomeRecord, msgpack.packb(values)).cached
    assert decode(PlanOutcomeRecord, msgpack.packb([1, *values[1:-1]])) == OUTCOME
    for wrong in ([1, *values[1:]], values[:-1]):
        with pytest.raises(SharedMemoryError, match="fields"):
            decode(PlanOutcomeRecord, msgpack.packb(wrong))


def changed(place: int, value: Any) -> bytes:
    values = msgpack.unpackb(encode(OUTCOME))
    values[place] = value
    packed: bytes = msgpack.packb(values)
    return packed


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (changed(0, codec.SCHEMA_VERSION + 1), "schema version"),
        (changed(0, True), "schema version"),
        (changed(1, 2), "kind"),
        (changed(2, 2**27), "task_index"),
        (changed(2, True), "task_index"),
        (changed(4, b"blocks"), "domain"),
        (changed(4, "x" * 2000), "domain"),
        (changed(9, float("nan")), "seconds"),
        (changed(9, float("inf")), "seconds"),
        (changed(9, 1), "seconds"),
        (changed(10, 1), "failed"),
        (changed(10, msgpack.ExtType(5, b"x")), "exten|limit|ext"),
        (changed(10, {1: 2}), "limits"),
        (encode(OUTCOME) + b"\x00", "limits"),
        (b"\xdd\xff\xff\xff\xff", "limits"),
        (b"\xdb\x7f\xff\xff\xff", "limits"),
        (b"\x91" * 100_000, "limits"),
        (b"\xc1", "limits"),
        (b"", "limits"),
        (b"x" * (codec.MAX_BYTES + 1), "limit"),
    ],
)
def test_hostile_bytes_are_refused(payload: bytes, why: str) -> None:
    with pytest.raises(SharedMemoryError, match=why):
        decode(PlanOutcomeRecord, payload)


@pytest.mark.parametrize(
    "record",
    [
        dataclasses.replace(OUTCOME, seconds=float("nan")),
        dataclasses.replace(OUTCOME, task_index=2**27),
        dataclasses.replace(OUTCOME, domain="\ud800"),
        dataclasses.replace(OUTCOME, domain=3),  # type: ignore[arg-type]
        Decision(0, np.array([1, 2], dtype=np.int64), "a", True, ()),
        Decision(0, np.empty((1, 0), dtype=np.uint16), "a", True, ()),
        Decision(0, np.zeros(3, dtype=np.uint16), "a", True, (-1,)),
        "not a record",
    ],
)
def test_nothing_is_written_that_would_be_refused(record: Any) -> None:
    with pytest.raises(SharedMemoryError):
        encode(record)


def test_numpy_numbers_are_told_apart_from_whole_numbers() -> None:
    with pytest.raises(SharedMemoryError, match="cost"):
        encode(dataclasses.replace(OUTCOME, cost=np.int64(3)))  # type: ignore[arg-type]


def test_a_decision_may_have_no_procedure_but_a_bank_entry_must() -> None:
    none = np.empty(0, dtype=np.uint16)
    decision = Decision(0, none, "a", True, ())
    again = decode(Decision, encode(decision))
    assert again.codes.shape == (0,)
    entry = BankEntry(none, "a", True, "blocks", 0, 0, "0" * 32, 0, 0, 1, True, ())
    with pytest.raises(SharedMemoryError):
        encode(entry)


def entry_of(tokens: tuple[int, ...]) -> BankEntry:
    codes = np.zeros(3, dtype=np.uint16)
    return BankEntry(codes, "a", True, "blocks", 0, 0, "0" * 32, 0, 0, 1, True, tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (0,),
        (255,) * 40,
        tuple(range(256)),
        tuple(range(300)) * 3,
        (70_000, 1) * 50,
        (2**31 - 1,),
        (7,) * token_packing.MAX_TOKENS,
    ],
)
def test_prompt_tokens_are_packed(tokens: tuple[int, ...]) -> None:
    entry = entry_of(tokens)
    payload = encode(entry)
    assert decode(BankEntry, payload).prompt_tokens == tokens
    listed = [3, *msgpack.unpackb(payload)[1:-1], list(tokens)]  # as schema version 3 has it
    assert decode(BankEntry, msgpack.packb(listed)).prompt_tokens == tokens
    assert len(payload) <= len(msgpack.packb(listed)) + 3


@pytest.mark.parametrize(
    "packed",
    [
        b"\x03abcd",
        b"\x01abc",
        b"\x80",
        b"\x02\xff\xff\xff\xff",
        b"\x04not deflated",
        b"\x04" + zlib.compress(bytes(token_packing.MAX_TOKENS + 1)),
        b"\x04" + zlib.compress(bytes(2**27)),
        b"\x04" + zlib.compress(b"abc")[:-1],
        b"\x04" + zlib.compress(b"abc") + b"x",
        b"\x00" + bytes(token_packing.MAX_TOKENS + 1),
    ],
)
def test_hostile_prompt_tokens_are_refused(packed: bytes) -> None:
    values = msgpack.unpackb(encode(entry_of(())))
    values[-1] = packed
    with pytest.raises(SharedMemoryError, match=r"prompt_tokens|limits"):
        decode(BankEntry, msgpack.packb(values))
