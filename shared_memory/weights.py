"""Published weights: versions of the small LM that actors fetch. Versions only rise.

A payload is cut into parts of at most 16 MB; they are sent first and become visible all at once
with their manifest. The last three versions are kept. What is fetched is compared with the
digest of what was published.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import redis

from shared_memory.codec import unpack
from shared_memory.connection import Argument, AtomicScript, call, call_all, push_back
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.plain_values import whole

KEPT_VERSIONS = 3
_PART_BYTES = 16 * 1024 * 1024
_MOST_BYTES = 8 * 1024 * 1024 * 1024
_UNPUBLISHED_S = 3600
_FETCH_DEADLINE_S = 30.0

Metadata = Mapping[str, str | int | float | bool]

_PUBLISH = AtomicScript(
    """
local weights = KEYS[1]
local version, manifest = tonumber(ARGV[1]), ARGV[2]
local latest = redis.call('HGET', weights, 'latest')
if latest and version <= tonumber(latest) then
  if redis.call('HGET', weights, ARGV[1]) == manifest then return {'ok', version} end
  return {'old', tonumber(latest)}
end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'lost', i - 1} end
end
redis.call('HSET', weights, 'latest', version, ARGV[1], manifest)
for i = 2, #KEYS do redis.call('PERSIST', KEYS[i]) end
return {'ok', version}
"""
)


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """What is known of a published version without fetching it."""

    version: int
    bytes: int
    parts: int
    digest: str
    metadata: Metadata


class PublishedWeights:
    """The versions of one run."""

    def __init__(self, client: redis.Redis, run: str, *, deadline_s: float = 60.0) -> None:
        self._client = client
        self._keys = RunKeys(run)
        self._deadline_s = deadline_s

    def publish(self, version: int, payload: bytes, metadata: Metadata | None = None) -> None:
        """Make this payload the latest version.

        Publishing the same payload under the same version again changes nothing. Raises
        SharedMemoryError where the version does not exceed the latest one.
        """
        if not 0 <= version < 2**31:
            raise SharedMemoryError(f"a version must be from 0 to {2**31 - 1}, not {version}")
        if not 0 < len(payload) <= _MOST_BYTES:
            raise SharedMemoryError(
                f"weights must have 1 to {_MOST_BYTES} bytes, but have {len(payload)}"
            )
        digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
        starts = range(0, len(payload), _PART_BYTES)
        parts = [self._keys.weights_part(version, digest, part) for part in range(len(starts))]
        manifest: bytes = msgpack.packb(
            [1, version, len(payload), len(parts), digest, dict(metadata or {})]
        )
        for key, start in zip(parts, starts):
            part: Argument = payload[start : start + _PART_BYTES]
            self._send(key, part)
        reply = push_back(
            lambda: _PUBLISH.run(
                self._client,
                (self._keys.weights, *parts),
                (version, manifest),
            ),
            self._deadline_s,
        )
        if reply[0] == b"old":
            raise SharedMemoryError(
                f"version {version} cannot be published: version {int(reply[1])} is out already, "
                "and versions only rise (does a second learner write to this run?)"
            )
        if reply[0] == b"lost":
            raise SharedMemoryError(
                f"part {int(reply[1])} of version {version} was lost before it was published; "
                "publish it again"
            )
        self._drop_old_versions()

    def latest_version(self) -> int | None:
        """The latest version, or none where nothing has been published."""
        latest = call(self._client, "HGET", self._keys.weights, "latest")
        return None if latest is None else whole(latest, "the latest version")

    def describe(self, version: int | None = None) -> PublishedVersion:
        """A version's (by default the latest's) size, digest and metadata."""
        deadline = time.monotonic() + _FETCH_DEADLINE_S
        while True:
            wanted = self.latest_version() if version is None else version
            if wanted is None:
                raise SharedMemoryError(
                    f"no weights have been published yet in run {self._keys.run!r}: "
                    "start its learner"
                )
            manifest = call(self._client, "HGET", self._keys.weights, str(wanted))
            if manifest is not None:
                return _described(manifest)
            # The latest may have been dropped between the two reads, if newer ones came at once.
            if version is not None or time.monotonic() > deadline:
                raise SharedMemoryError(
                    f"version {wanted} is not there: the last {KEPT_VERSIONS} versions are kept, "
                    f"and the latest is {self.latest_version()}"
                )

    def holds(self, version: int, payload: bytes) -> bool:
        """Whether this very payload was published under the version."""
        digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
        return self.describe(version).digest == digest

    def fetch(self, version: int | None = None) -> tuple[int, bytes]:
        """(version, payload) of a version, by default of the latest.

        Raises SharedMemoryError where the version is not kept any more or its bytes are not
        those that were published.
        """
        deadline = time.monotonic() + _FETCH_DEADLINE_S
        while True:
            described = self.describe(version)
            payload = self._assembled(described)
            if payload is not None:
                return described.version, payload
            # Its parts were dropped between the two reads; try again where newer ones are out.
            still_latest = self.latest_version() == described.version
            if version is not None or still_latest or time.monotonic() > deadline:
                raise SharedMemoryError(
                    f"parts of version {described.version} are gone: the last {KEPT_VERSIONS} "
                    "versions are kept; fetch the latest, or have the learner publish a new one"
                )

    def _send(self, key: str, part: Argument) -> None:
        push_back(
            lambda: call(self._client, "SET", key, part, "EX", _UNPUBLISHED_S), self._deadline_s
        )

    def _assembled(self, described: PublishedVersion) -> bytes | None:
        parts = [
            call(
                self._client,
                "GET",
                self._keys.weights_part(described.version, described.digest, part),
            )
            for part in range(described.parts)
        ]
        if any(part is None for part in parts):
            return None
        payload = b"".join(parts)
        if hashlib.blake2b(payload, digest_size=16).hexdigest() != described.digest:
            raise SharedMemoryError(
                f"the weights of version {described.version} are damaged: their digest is wrong"
            )
        return payload

    def _drop_old_versions(self) -> None:
        names = call(self._client, "HKEYS", self._keys.weights)
        versions = sorted(whole(name, "a version") for name in names if name != b"latest")
        for version in versions[:-KEPT_VERSIONS]:
            manifest = call(self._client, "HGET", self._keys.weights, str(version))
            if manifest is None:
                continue
            described = _described(manifest)
            parts = [
                self._keys.weights_part(version, described.digest, part)
                for part in range(described.parts)
            ]
            call_all(
                self._client,
                [("HDEL", self._keys.weights, str(version)), ("UNLINK", *parts)],
            )


def _described(manifest: bytes) -> PublishedVersion:
    values = unpack(manifest)
    fits = (
        isinstance(values, list)
        and len(values) == 6
        and values[0] == 1
        and all(type(value) is int and value >= 0 for value in values[1:4])
        and values[2] <= _MOST_BYTES
        and values[3] == -(-values[2] // _PART_BYTES)
        and isinstance(values[4], str)
        and isinstance(values[5], dict)
    )
    if not fits:
        raise SharedMemoryError("the manifest of published weights is damaged")
    return PublishedVersion(*values[1:])
