"""What programs of every schema version left on servers is still read, and read right."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import pytest
from golden_records import GOLDEN, RECORDS
from test_codec import as_values

from shared_memory import codec
from shared_memory.records import Episode, PlanOutcomeRecord

VERSIONS = range(1, codec.SCHEMA_VERSION + 1)


def as_then(record: Any, version: int) -> Any:
    """What is known of a record that was written by a program of that version."""
    if isinstance(record, Episode) and version < 5:
        fault = record.fault if version >= 3 else ""
        return dataclasses.replace(record, fault=fault, near=(), alone=())
    if isinstance(record, PlanOutcomeRecord) and version < 2:
        return dataclasses.replace(record, cached=False)
    return record


def test_each_version_has_its_file() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == [
        f"v{version}.msgpack" for version in VERSIONS
    ], "write the new version's file with golden_records.py, and keep the old ones"


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_records_are_read(version: int) -> None:
    rows = msgpack.unpackb((GOLDEN / f"v{version}.msgpack").read_bytes())
    assert [name for name, _ in rows] == [type(record).__name__ for record in RECORDS]
    for (_, payload), record in zip(rows, RECORDS, strict=True):
        assert msgpack.unpackb(payload)[0] == version
        read = codec.decode(type(record), payload)
        assert as_values(read) == as_values(as_then(record, version))


def test_the_newest_file_is_what_is_written_now() -> None:
    rows = msgpack.unpackb((GOLDEN / f"v{codec.SCHEMA_VERSION}.msgpack").read_bytes())
    for (_, payload), record in zip(rows, RECORDS, strict=True):
        assert payload == codec.encode(record)
