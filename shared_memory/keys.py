"""Every key that a run has in Redis, and nothing else.

Keys of one domain of a run share the hash tag `{run/domain}`, so that one script can touch them
all on a Redis Cluster too; keys of the whole run share `{run}`.

| key                                  | type   | holds                                          |
|--------------------------------------|--------|------------------------------------------------|
| `nesypr:{run}:domains`               | set    | names of the domains that have a bank          |
| `nesypr:{run}:heartbeats`            | hash   | who → time of last event, what it does, numbers |
| `nesypr:{run}:fleet`                 | hash   | actors asked for, and the driver's word on them |
| `nesypr:{run}:weights`               | hash   | latest version and manifests of the last three |
| `nesypr:{run}:weights:VERSION:DIGEST:PART` | string | a part (≤ 16 MB) of a version's payload  |
| `nesypr:{run/domain}:counters`       | hash   | totals of the ledger, last numbers given       |
| `nesypr:{run/domain}:episodes`       | bitmap | episode numbers that were counted              |
| `nesypr:{run/domain}:requested`      | bitmap | task indices for which a plan was asked        |
| `nesypr:{run/domain}:log`            | stream | changes of both banks, for the replicas        |
| `nesypr:{run/domain}:outcomes`       | stream | finished episodes and plans, for the driver    |
| `nesypr:{run/domain}:plans`          | stream | plan requests, for the teacher                 |
| `nesypr:{run/domain}:traces`         | stream | traces, for the learner                        |
| `nesypr:{run/domain}:QUEUE:batches:ID` | string | guard of a batch in a queue (expires) |
| `nesypr:{run/domain}:SIGN:entries` | hash   | codes' digest and action → counts, origin      |
| `nesypr:{run/domain}:SIGN:procedures`| hash   | codes' digest → number, entries, version, slot |
| `nesypr:{run/domain}:SIGN:segment:I` | string | rows of 8192 slots: number, version, codes     |
| `nesypr:{run/domain}:SIGN:free`      | list   | slots that may be given again                  |
| `nesypr:{run/domain}:SIGN:ages`      | zset   | entries by last version, then as they came     |
| `nesypr:{run/domain}:SIGN:order`     | zset   | entries by what goes first, unless by age      |
| `nesypr:{run/domain}:SIGN:origins`   | hash   | digest → an episode's prompts                  |
| `nesypr:{run/domain}:SIGN:kept`      | hash   | the same digest → entries from it, its bytes   |

SIGN is `success` (M+) or `failure` (M-). Streams `log` and `outcomes` are numbered without gaps
(`1-0`, `2-0`, …), so that a reader knows when it missed something.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared_memory.errors import SharedMemoryError
from shared_memory.records import SIGNS, Sign

PREFIX = "nesypr"
_LONGEST_NAME = 512


def _escaped(name: str, what: str) -> str:
    if not name or len(name) > _LONGEST_NAME:
        raise SharedMemoryError(
            f"the {what} {name[:40]!r} cannot be part of a key: it must have 1 to "
            f"{_LONGEST_NAME} characters"
        )
    return name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


@dataclass(frozen=True, slots=True)
class RunKeys:
    """Keys of the whole run."""

    run: str

    def _key(self, name: str) -> str:
        return f"{PREFIX}:{{{_escaped(self.run, 'run')}}}:{name}"

    @property
    def domains(self) -> str:
        """Set of the domains that have a bank."""
        return self._key("domains")

    @property
    def heartbeats(self) -> str:
        """Hash of who was last heard of when."""
        return self._key("heartbeats")

    @property
    def fleet(self) -> str:
        """Hash of what is asked of the run's actors, and what the driver says of them."""
        return self._key("fleet")

    @property
    def weights(self) -> str:
        """Hash of published versions."""
        return self._key("weights")

    def weights_part(self, version: int, digest: str, part: int) -> str:
        """One part of a published payload."""
        return self._key(f"weights:{version}:{digest}:{part}")

    def domain(self, domain: str) -> DomainKeys:
        """Keys of one domain of this run."""
        return DomainKeys(self.run, domain)


@dataclass(frozen=True, slots=True)
class SignKeys:
    """Keys of one bank: a domain's M+ or M-."""

    entries: str
    procedures: str
    ages: str
    order: str
    origins: str
    kept: str
    free: str
    segments: str  # what its segments' keys begin with; no key itself

    def all(self) -> tuple[str, ...]:
        """The bank's keys, in the order in which the scripts expect them."""
        return (*self.whole(), self.segments)

    def whole(self) -> tuple[str, ...]:
        """The bank's keys but for its segments."""
        return (
            *(self.entries, self.procedures, self.ages, self.order),
            *(self.origins, self.kept, self.free),
        )

    def segment(self, index: int) -> str:
        """Rows of slots `8192 * index` and on."""
        return f"{self.segments}:{index}"


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """Keys of one domain of a run; all have one hash tag."""

    run: str
    name: str

    def _key(self, name: str) -> str:
        tag = f"{_escaped(self.run, 'run')}/{_escaped(self.name, 'domain')}"
        return f"{PREFIX}:{{{tag}}}:{name}"

    @property
    def counters(self) -> str:
        """Hash of the ledger's totals."""
        return self._key("counters")

    @property
    def episodes(self) -> str:
        """Bitmap of counted episode numbers."""
        return self._key("episodes")

    @property
    def requested(self) -> str:
        """Bitmap of task indices for which a plan was asked."""
        return self._key("requested")

    @property
    def log(self) -> str:
        """Stream of changes of both banks."""
        return self._key("log")

    @property
    def outcomes(self) -> str:
        """Stream of finished episodes and plans."""
        return self._key("outcomes")

    @property
    def plans(self) -> str:
        """Stream of plan requests."""
        return self._key("plans")

    @property
    def traces(self) -> str:
        """Stream of traces."""
        return self._key("traces")

    def sign(self, sign: Sign) -> SignKeys:
        """Keys of M+ or M-."""
        names = ("entries", "procedures", "ages", "order", "origins", "kept", "free", "segment")
        return SignKeys(*(self._key(f"{sign}:{name}") for name in names))

    def bank(self) -> tuple[str, ...]:
        """All keys of both banks, M+ first."""
        return tuple(key for sign in SIGNS for key in self.sign(sign).all())
