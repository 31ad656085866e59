"""Who may do what on a server: users for the roles of a run, as the server's ACL rules.

Every role reads the run's keys and writes only its own: an actor the banks and what an episode
brings with it, the learner traces, published weights and, as it retires and re-encodes, the banks,
the driver what actors write (it writes down tasks that were given up) and the outcome log's end,
a monitor nothing. Nobody may flush, configure, load or flush scripts, delete keys (but the learner
outdated weights), or read what is not of the run. Scripts run with the rights of who calls them.
Needs Redis 7.0 or Valkey.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared_memory.errors import SharedMemoryError
from shared_memory.keys import PREFIX, RunKeys
from shared_memory.server_address import ROLES, Login, Role

OLDEST_WITH_ROLES = (7, 0)
_PASSWORD_BYTES = 24
_STARTED = "-" + 8 * "[0-9a-f]"
"""What a run's name in shared memory has after the run's name: no two starts share banks."""

_COMMON = (
    *("-@all", "+@read", "-@dangerous", "-@scripting", "+info", "+ping", "+select", "+time"),
    *("+wait", "+cluster|slots", "-randomkey"),
)
"""Reading. Commands of connections (AUTH, HELLO) need no rights before one is known."""
_SCRIPTS = ("+eval", "+evalsha")
_BANK = ("+hset", "+hdel", "+hincrby", "+zadd", "+zrem", "+xadd", "+setrange", "+rpush", "+lpop")
_COMMANDS: Mapping[Role, Sequence[str]] = {
    "actor": (*_SCRIPTS, *_BANK, "+setbit", "+sadd"),
    "learner": (
        *(*_SCRIPTS, *_BANK, "+xreadgroup", "+xack", "+xdel", "+xautoclaim"),
        *("+xgroup|create", "+xgroup|delconsumer"),
    ),
    "driver": (*_SCRIPTS, *_BANK, "+setbit", "+sadd", "+xtrim"),
    "monitor": (),
}
_ON_WEIGHTS = ("+set", "+persist", "+unlink")
"""What the learner may besides, on the parts of published weights and on nothing else."""
_BANKS = ("counters", "log", "success:*", "failure:*")
_DOMAIN_KEYS: Mapping[Role, Sequence[str]] = {
    "actor": (*_BANKS, "episodes", "requested", "outcomes", "plans"),
    "learner": (*_BANKS, "outcomes", "plans", "traces"),
    "driver": (*_BANKS, "episodes", "requested", "outcomes", "plans"),
    "monitor": (),
}
"""What a role writes of each domain's keys."""
_RUN_KEYS: Mapping[Role, Sequence[str]] = {
    "actor": ("domains", "heartbeats"),
    "learner": ("weights", "weights:*", "heartbeats"),
    "driver": ("domains", "heartbeats", "fleet"),
    "monitor": (),
}
"""What a role writes of the keys of the whole run."""


@dataclass(frozen=True, slots=True)
class UserRules:
    """A user as the server's ACL has it. `rules` hold the password's SHA-256 only."""

    role: Role
    name: str
    rules: tuple[str, ...]

    @property
    def line(self) -> str:
        """As in an ACL file or a configuration file."""
        return " ".join(("user", self.name, *self.rules))

    @property
    def command(self) -> tuple[str, ...]:
        """As a command that makes the user what the rules say, whatever it was."""
        return ("ACL", "SETUSER", self.name, *self.rules)


def new_login(role: Role) -> Login:
    """A user's name and a fresh password for a role."""
    return Login(f"{PREFIX}-{role}", secrets.token_urlsafe(_PASSWORD_BYTES))


def user_rules(role: Role, login: Login, run: str | None = None) -> UserRules:
    """The rules for a role's user: for all runs, or for one, by its name or by its name in shared
    memory, which is the same with eight digits after it.

    Raises SharedMemoryError where the login has no name or password.
    """
    if not login.user or not login.password:
        raise SharedMemoryError(f"the user of the {role} needs a name and a password")
    digest = hashlib.sha256(login.password.encode()).hexdigest()
    rules = ["reset", "on", f"#{digest}"]
    weights: list[str] = []
    for whole, domain in _tags(run):
        rules += [f"%R~{PREFIX}:{{{tag}}}:*" for tag in dict.fromkeys((whole, domain))]
        rules += [f"~{PREFIX}:{{{domain}}}:{name}" for name in _DOMAIN_KEYS[role]]
        rules += [f"~{PREFIX}:{{{whole}}}:{name}" for name in _RUN_KEYS[role]]
        weights.append(f"~{PREFIX}:{{{whole}}}:weights:*")
    rules += [*_COMMON, *_COMMANDS[role]]
    if role == "learner":
        rules.append(f"({' '.join((*_ON_WEIGHTS, *weights))})")
    return UserRules(role, login.user, tuple(rules))


def logins_text(logins: Mapping[Role, Login]) -> str:
    """The content of a file of users, as `server_address.read_users` reads it."""
    lines = [f"{role} {logins[role].user} {logins[role].password}" for role in ROLES]
    return "\n".join(("# role user password", *lines, ""))


def _tags(run: str | None) -> tuple[tuple[str, str], ...]:
    """Patterns of the hash tags of a run's own keys, and of its domains' keys."""
    if run is None:
        return (("*", "*"),)
    name = _literal(RunKeys(run).domains.removeprefix(f"{PREFIX}:{{").partition("}")[0])
    return tuple((each, f"{each}/*") for each in (name, name + _STARTED))


def _literal(name: str) -> str:
    """A name in a pattern that matches it only. Blanks cannot be in a rule: `?` stands there."""
    marked = "".join(f"\\{letter}" if letter in "\\*?[]^" else letter for letter in name)
    return "".join("?" if letter.isspace() else letter for letter in marked)
