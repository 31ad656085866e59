"""Records to bytes and back: msgpack with a schema version, and limits on everything.

A record is the array `[schema version, kind, field, field, …]`. What comes from the server is
never trusted: its size is capped before it is parsed, extension types, maps, NaN, wrong types
and values out of range are refused with a `SharedMemoryError`. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NoReturn, TypeVar

import msgpack
import numpy as np

from shared_memory.errors import SharedMemoryError
from shared_memory.records import (
    BankEntry,
    Codes,
    Decision,
    EntryOrigin,
    Episode,
    PlanOutcomeRecord,
    PlanRequest,
    Trace,
)
from shared_memory.token_packing import (
    MAX_TOKENS,
    WORTH_DEFLATING,
    WORTH_DEFLATING_PROMPTS,
    pack_tokens,
    unpack_tokens,
)

SCHEMA_VERSION = 5
"""2: `PlanOutcomeRecord.cached`, absent before. 3: `Episode.fault`, absent before. 4: the prompt
tokens of a `BankEntry` are packed bytes, a list before. 5: `Episode.near` and `alone`, absent
before."""
MAX_BYTES = 8 * 1024 * 1024
"""The largest record, in bytes."""
MAX_TEXT = 2 * 1024 * 1024
MAX_NAME = 1024
MAX_CODES = 4096
MAX_DECISIONS = 10_000
DIGEST_BYTES = 16
MAX_EPISODE = 2**27 - 1
"""Episode numbers and task indices are bits of a bitmap: this one's takes 16 MB."""
MAX_VERSION = 2**31 - 1

_Record = TypeVar("_Record")


class _Refused(Exception):  # noqa: N818 - becomes a SharedMemoryError with its place
    pass


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


def _checked(name: str, check: Callable[[Any], Any]) -> _Field:
    return _Field(name, check, check)


def _text(name: str, longest: int = MAX_NAME) -> _Field:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise _Refused(f"{name} must be text of at most {longest} characters")
        return value

    return _checked(name, check)


def _whole(name: str, least: int, most: int) -> _Field:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _Refused(f"{name} must be a whole number from {least} to {most}")
        return value

    return _checked(name, check)


def _flag(name: str) -> _Field:
    def check(value: Any) -> bool:
        if type(value) is not bool:
            raise _Refused(f"{name} must be true or false")
        return value

    return _checked(name, check)


def _real(name: str) -> _Field:
    def check(value: Any) -> float:
        if type(value) is not float or not math.isfinite(value):
            raise _Refused(f"{name} must be a finite floating-point number")
        return value

    return _Field(name, lambda value: check(float(value)), check)


def _texts(name: str, most: int, longest: int = MAX_TEXT) -> _Field:
    one = _text(name, longest).unpack

    def unpack(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            raise _Refused(f"{name} must be at most {most} texts")
        return tuple(one(text) for text in value)

    return _Field(name, lambda value: list(unpack(value)), unpack)


def _tokens(name: str) -> _Field:
    def unpack(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list | tuple) or len(value) > MAX_TOKENS:
            raise _Refused(f"{name} must be at most {MAX_TOKENS} token numbers")
        if not all(type(token) is int and 0 <= token < 2**31 for token in value):
            raise _Refused(f"{name} must be whole numbers from 0 to {2**31 - 1}")
        return tuple(value)

    return _Field(name, lambda value: list(unpack(value)), unpack)


def _packed_tokens(name: str, worth_deflating: int = WORTH_DEFLATING) -> _Field:
    """As `_tokens`, but written as packed bytes; lists of older records are read."""
    listed = _tokens(name)

    def pack(value: Any) -> bytes:
        if not isinstance(value, list | tuple) or len(value) > MAX_TOKENS:
            raise _Refused(f"{name} must be at most {MAX_TOKENS} token numbers")
        return pack_tokens(value, worth_deflating)

    def unpack(value: Any) -> tuple[int, ...]:
        if isinstance(value, bytes):
            return unpack_tokens(value)
        found: tuple[int, ...] = listed.unpack(value)
        return found

    return _Field(name, pack, unpack)


def pack_codes(codes: Codes) -> bytes:
    """A procedure (n,) as 2n big-endian bytes; these bytes identify it everywhere."""
    if codes.ndim != 1 or not 0 < codes.shape[0] <= MAX_CODES or codes.dtype != np.uint16:
        raise SharedMemoryError(
            f"a procedure must be an array of 1 to {MAX_CODES} codes of type uint16, "
            f"but this one has shape {codes.shape} and type {codes.dtype}"
        )
    return codes.astype(">u2").tobytes()


def unpack_codes(payload: bytes) -> Codes:
    """The inverse of `pack_codes`."""
    if not isinstance(payload, bytes) or not 0 < len(payload) <= 2 * MAX_CODES or len(payload) % 2:
        raise SharedMemoryError(f"codes must be 2 to {2 * MAX_CODES} bytes, an even number")
    return np.frombuffer(payload, dtype=">u2").astype(np.uint16)


def codes_digest(codes: bytes) -> bytes:
    """The 16 bytes that identify a procedure's packed codes, by content."""
    return hashlib.blake2b(codes, digest_size=DIGEST_BYTES).digest()


def entry_key(codes: bytes, action: str) -> bytes:
    """What identifies an entry inside a bank: its codes' digest, then its action."""
    return codes_digest(codes) + action.encode()


def _codes(name: str, may_be_none: bool = False) -> _Field:
    def pack(codes: Codes) -> bytes:
        return b"" if may_be_none and codes.shape == (0,) else pack_codes(codes)

    def unpack_some(payload: bytes) -> Codes:
        if may_be_none and payload == b"":
            return np.empty(0, dtype=np.uint16)
        return unpack_codes(payload)

    return _Field(name, pack, unpack_some)


def _many(name: str, schema: _Schema[Any], most: int) -> _Field:
    def pack(values: Any) -> list[Any]:
        if len(values) > most:
            raise _Refused(f"{name} must be at most {most}, but are {len(values)}")
        return [schema.pack(value) for value in values]

    def unpack(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list) or len(values) > most:
            raise _Refused(f"{name} must be a list of at most {most}")
        return tuple(schema.unpack(value) for value in values)

    return _Field(name, pack, unpack)


class _Schema(Generic[_Record]):
    """The fields of one kind of record, in the order in which they are written.

    `since`: fields at the end that came with a later schema version than the first; in older
    records they are absent, and the record's own defaults hold.
    """

    __slots__ = ("fields", "kind", "make", "since")

    def __init__(
        self,
        kind: int,
        make: type[_Record],
        *fields: _Field,
        since: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.make = make
        self.fields = fields
        self.since = since

    def pack(self, record: _Record) -> list[Any]:
        return [field.pack(getattr(record, field.name)) for field in self.fields]

    def unpack(self, values: Any, version: int = SCHEMA_VERSION) -> _Record:
        fields = [field for field in self.fields if self.since.get(field.name, 1) <= version]
        if not isinstance(values, list) or len(values) != len(fields):
            raise _Refused(f"a {self.make.__name__} has {len(fields)} fields")
        return self.make(
            **{field.name: field.unpack(value) for field, value in zip(fields, values)}
        )


_DECISION = _Schema(
    1,
    Decision,
    _whole("number", 0, MAX_DECISIONS),
    _codes("codes", may_be_none=True),
    _text("action"),
    _flag("accepted"),
    _tokens("prompt_tokens"),
)
_EPISODE = _Schema(
    2,
    Episode,
    _whole("episode", 0, MAX_EPISODE),
    _whole("task_index", -1, MAX_EPISODE),
    _text("task_digest"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _whole("book_version", 0, MAX_VERSION),
    _flag("success"),
    _whole("conditions_met", 0, MAX_VERSION),
    _whole("conditions", 0, MAX_VERSION),
    _whole("steps", 0, MAX_VERSION),
    _many("decisions", _DECISION, MAX_DECISIONS),
    _text("actor"),
    _real("seconds"),
    _whole("hits_success", 0, MAX_VERSION),
    _whole("hits_failure", 0, MAX_VERSION),
    _text("fault", MAX_TEXT),
    _texts("near", MAX_DECISIONS, MAX_NAME),
    _texts("alone", MAX_DECISIONS, MAX_NAME),
    since={"fault": 3, "near": 5, "alone": 5},
)
_PLAN_REQUEST = _Schema(
    3,
    PlanRequest,
    _whole("task_index", 0, MAX_EPISODE),
    _text("task_digest"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _text("problem", MAX_TEXT),
    _text("origin", MAX_TEXT),
    _flag("failed"),
)
_TRACE = _Schema(
    4,
    Trace,
    _whole("task_index", -1, MAX_EPISODE),
    _text("task_digest"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _text("teacher"),
    _text("prompt", MAX_TEXT),
    _texts("observations", MAX_DECISIONS),
    _texts("actions", MAX_DECISIONS),
)
_PLAN_OUTCOME = _Schema(
    5,
    PlanOutcomeRecord,
    _whole("task_index", -1, MAX_EPISODE),
    _text("task_digest"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _text("planner"),
    _text("status"),
    _whole("cost", -1, MAX_VERSION),
    _real("seconds"),
    _flag("failed"),
    _flag("traced"),
    _flag("cached"),
    since={"cached": 2},
)
_BANK_ENTRY = _Schema(
    6,
    BankEntry,
    _codes("codes"),
    _text("action"),
    _flag("success"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _whole("task_index", -1, MAX_EPISODE),
    _text("task_digest"),
    _whole("episode", 0, MAX_EPISODE),
    _whole("decision", 0, MAX_DECISIONS),
    _whole("book_version", 0, MAX_VERSION),
    _flag("accepted"),
    _packed_tokens("prompt_tokens"),
)
_ENTRY_ORIGIN = _Schema(
    7,
    EntryOrigin,
    _flag("success"),
    _text("domain"),
    _whole("phase", 0, MAX_VERSION),
    _whole("task_index", -1, MAX_EPISODE),
    _text("task_digest"),
    _whole("episode", 0, MAX_EPISODE),
    _packed_tokens("tokens", WORTH_DEFLATING_PROMPTS),
)
_SCHEMAS: dict[type[Any], _Schema[Any]] = {
    schema.make: schema
    for schema in (
        *(_DECISION, _EPISODE, _PLAN_REQUEST, _TRACE, _PLAN_OUTCOME, _BANK_ENTRY),
        _ENTRY_ORIGIN,
    )
}


def encode(record: object) -> bytes:
    """The record as bytes.

    Raises SharedMemoryError where a field has a wrong type or is out of range, so that nothing
    is written that `decode` would refuse.
    """
    schema = _SCHEMAS.get(type(record))
    if schema is None:
        raise SharedMemoryError(f"there is no schema for a {type(record).__name__}")
    try:
        payload: bytes = msgpack.packb([SCHEMA_VERSION, schema.kind, *schema.pack(record)])
    except (_Refused, UnicodeEncodeError, AttributeError, TypeError, OverflowError) as error:
        raise SharedMemoryError(
            f"this {type(record).__name__} cannot be written to shared memory: {error}"
        ) from error
    if len(payload) > MAX_BYTES:
        raise SharedMemoryError(
            f"this {type(record).__name__} takes {len(payload)} bytes, more than the "
            f"{MAX_BYTES} that one record may have"
        )
    return payload


def _packed_items(values: list[Any]) -> bytes:
    """Values as msgpack, one after another, without the header of their array."""
    payload: bytes = msgpack.packb(values)
    return payload[1 if len(values) < 16 else 3 :]


def encode_with_items(record: object, list_field: str, items: bytes, count: int) -> bytes:
    """As `encode`, with the items of one list of the record as msgpack bytes already, `count` of
    them one after another.

    The record's own list is not looked at. Raises SharedMemoryError as `encode` does.
    """
    schema = _SCHEMAS[type(record)]
    place = [field.name for field in schema.fields].index(list_field)
    before, after = schema.fields[:place], schema.fields[place + 1 :]
    try:
        head = [SCHEMA_VERSION, schema.kind, *(f.pack(getattr(record, f.name)) for f in before)]
        tail = [field.pack(getattr(record, field.name)) for field in after]
    except (_Refused, AttributeError, TypeError) as error:
        raise SharedMemoryError(
            f"this {type(record).__name__} cannot be written to shared memory: {error}"
        ) from error
    header = msgpack.Packer().pack_array_header
    payload = b"".join(
        (
            *(header(len(head) + 1 + len(tail)), _packed_items(head)),
            *(header(count), items, _packed_items(tail)),
        )
    )
    if len(payload) > MAX_BYTES:
        raise SharedMemoryError(
            f"this {type(record).__name__} takes {len(payload)} bytes, more than the "
            f"{MAX_BYTES} that one record may have"
        )
    return payload


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise _Refused("extension types are not allowed")


def decode(kind: type[_Record], payload: bytes) -> _Record:
    """The record of this kind that the bytes hold.

    Raises SharedMemoryError for anything else than a valid record of a known schema version.
    """
    schema: _Schema[_Record] = _SCHEMAS[kind]
    try:
        values = unpack(payload)
        if not isinstance(values, list) or len(values) < 2:
            raise _Refused("it is not an array that starts with schema version and kind")
        version, found = values[:2]
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise _Refused(
                f"its schema version is {version!r:.40}, but this program knows versions up to "
                f"{SCHEMA_VERSION}; use the same program version on all machines"
            )
        if found != schema.kind:
            raise _Refused(f"its kind is {found!r:.40} and not {schema.kind}")
        return schema.unpack(values[2:], version)
    except (_Refused, SharedMemoryError) as error:
        raise SharedMemoryError(
            f"bytes in shared memory are no valid {kind.__name__}: {error}"
        ) from error


def unpack(payload: bytes) -> Any:
    """Plain msgpack values (no maps with odd keys, no extensions) from capped, untrusted bytes."""
    if not isinstance(payload, bytes):
        raise SharedMemoryError(f"expected bytes, but got {type(payload).__name__}")
    if len(payload) > MAX_BYTES:
        raise SharedMemoryError(f"{len(payload)} bytes are more than the limit {MAX_BYTES}")
    try:
        return msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            use_list=True,
            ext_hook=_refuse_extension,
            max_str_len=MAX_TEXT * 4,
            max_bin_len=4 * MAX_TOKENS + 1,
            max_array_len=MAX_TOKENS,
            max_map_len=1024,
            max_ext_len=0,
        )
    except _Refused as error:
        raise SharedMemoryError(str(error)) from error
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        raise SharedMemoryError(f"bytes are not msgpack within the limits: {error}") from error
