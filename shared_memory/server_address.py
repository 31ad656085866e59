"""What a server's URL says: which kind of server, where, how it is reached, and who asks.

    redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]              one server
    rediss://…                                              the same over TLS
    unix://[USER[:PASSWORD]@]/PATH[?db=DB]                  one server on this machine
    redis+sentinel://…HOST[:PORT],HOST[:PORT]/SERVICE[/DB]  the primary that Sentinels name
    redis+cluster://…HOST[:PORT],HOST[:PORT]                a Redis Cluster, by some of its nodes

`rediss+sentinel` and `rediss+cluster` go over TLS. Options follow a `?`: `ca`, `cert` and `key`
(files; TLS), `verify=none` (TLS without asking who answers), `db`, `password_file`, `users` (the
file of `nesypr bank acl`: the user of each role), `sentinel_user` and `sentinel_password_file`.

A password is looked for in the URL, in its files, and, but for `unix://`, in the environment:
`NESYPR_SERVER_PASSWORD`, or a file named by `NESYPR_SERVER_PASSWORD_FILE` (`NESYPR_SERVER_USER`
names the user); `NESYPR_SENTINEL_PASSWORD` and so on for the Sentinels themselves.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from configs.addresses import redacted
from shared_memory.errors import SharedMemoryError

Role: TypeAlias = Literal["driver", "actor", "learner", "monitor"]
ROLES: tuple[Role, ...] = ("driver", "actor", "learner", "monitor")
Kind: TypeAlias = Literal["standalone", "sentinel", "cluster"]
Place: TypeAlias = tuple[str, int]
"""Host and port."""

SCHEMES = (
    *("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"),
    *("redis+cluster", "rediss+cluster"),
)
_PORTS: dict[Kind, int] = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS = ("ca", "cert", "key", "verify")
_OPTIONS = (
    *_TLS_OPTIONS,
    *("db", "password_file", "users", "sentinel_user", "sentinel_password_file"),
)
_MOST_SECRET = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks; no password: nobody in particular."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def settings(self) -> dict[str, Any]:
        """For redis-py."""
        return {"username": self.user, "password": self.password} if self.password else {}


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is done: whom to trust, and what to show."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verified: bool = True

    def settings(self) -> dict[str, Any]:
        """For redis-py."""
        return {
            "ssl_ca_certs": self.ca,
            "ssl_certfile": self.cert,
            "ssl_keyfile": self.key or self.cert,
            "ssl_cert_reqs": "required" if self.verified else "none",
            "ssl_check_hostname": self.verified,
        }


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A URL, taken apart. Secrets are not part of its `repr`."""

    kind: Kind
    places: tuple[Place, ...]  # none for a socket
    path: str | None  # of a socket
    service: str | None  # that Sentinels know the primary by
    database: int
    tls: Tls | None
    login: Login
    sentinel_login: Login

    @property
    def words(self) -> str:
        """For messages, without secrets."""
        if self.path is not None:
            return f"unix://{self.path}"
        places = ",".join(f"{host}:{port}" for host, port in self.places)
        if self.kind == "sentinel":
            return f"{self.service} (by the Sentinels {places})"
        return f"the Cluster of {places}" if self.kind == "cluster" else places


def parse_address(
    url: str, role: Role = "driver", environment: Mapping[str, str] | None = None
) -> ServerAddress:
    """Take a URL apart and find the credentials of a role.

    Raises SharedMemoryError with a sentence (that tells no secret) for anything wrong.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise SharedMemoryError(
            f"shared_memory.url {redacted(url)!r} is not understood: it must start with "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    try:
        return _parsed(scheme, rest, role, os.environ if environment is None else environment)
    except ValueError as error:
        raise SharedMemoryError(
            f"shared_memory.url {redacted(url)!r} is not understood: {error}"
        ) from None


def _parsed(scheme: str, rest: str, role: Role, environment: Mapping[str, str]) -> ServerAddress:
    place, _, query = rest.partition("?")
    options = _options(query)
    login_text, _, place = place.rpartition("@")
    transport, _, kind_text = scheme.partition("+")
    kinds: dict[str, Kind] = {"": "standalone", "sentinel": "sentinel", "cluster": "cluster"}
    kind = kinds[kind_text]
    tls = _tls(options) if transport == "rediss" else None
    if tls is None and (given := sorted(set(options) & set(_TLS_OPTIONS))):
        raise ValueError(f"{', '.join(given)} are for TLS: begin it with rediss")
    path = service = None
    places: tuple[Place, ...] = ()
    database = options.get("db", "")
    if transport == "unix":
        path = unquote(place)
        if not path.startswith("/"):
            raise ValueError("a socket's path must begin with /")
    else:
        hosts, _, after = place.partition("/")
        places = tuple(_place(each, _PORTS[kind]) for each in hosts.split(","))
        if kind == "standalone" and len(places) > 1:
            raise ValueError("several hosts are for redis+sentinel:// and redis+cluster://")
        if kind == "sentinel":
            service, _, after = after.partition("/")
            if not service:
                raise ValueError("the name of the primary is missing: …HOST,HOST/SERVICE")
            service = unquote(service)
        database = after or database
    if kind == "cluster" and database not in ("", "0"):
        raise ValueError("a Cluster has database 0 only")
    known = {} if transport == "unix" else environment
    return ServerAddress(
        kind=kind,
        places=places,
        path=path,
        service=service,
        database=_database(database),
        tls=tls,
        login=_login(login_text, options, role, known),
        sentinel_login=_sentinel_login(options, environment),
    )


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    options = dict(pairs)
    if len(options) != len(pairs):
        raise ValueError("an option is given twice")
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise ValueError(f"there is no option {unknown[0][:40]}; there are {', '.join(_OPTIONS)}")
    return options


def _place(text: str, usual_port: int) -> Place:
    """Host and port of `host`, `host:port`, `[::1]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(usual_port)
    host = unquote(host.removeprefix("[").removesuffix("]"))
    if not host:
        host = "localhost"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError("a port must be a number from 1 to 65535")
    return host, int(port)


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError("the database after the last / must be a number")
    return int(text or 0)


def _tls(options: Mapping[str, str]) -> Tls:
    verify = options.get("verify", "full")
    if verify not in ("full", "none"):
        raise ValueError("verify must be full or none")
    if "key" in options and "cert" not in options:
        raise ValueError("key needs cert: the certificate that belongs to it")
    files = {name: _file(options[name]) for name in ("ca", "cert", "key") if name in options}
    return Tls(**files, verified=verify == "full")


def _file(name: str) -> str:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return str(path)


def _login(
    text: str, options: Mapping[str, str], role: Role, environment: Mapping[str, str]
) -> Login:
    user, colon, password = text.partition(":")
    if "users" in options:
        if text or "password_file" in options:
            raise ValueError("users already says who asks: give no other user or password")
        return read_users(Path(options["users"]), role)
    named = unquote(user) or environment.get("NESYPR_SERVER_USER")
    if colon:
        return Login(named or None, unquote(password))
    found = _secret(options.get("password_file"), environment, "NESYPR_SERVER_PASSWORD")
    return Login(named or None, found)


def _sentinel_login(options: Mapping[str, str], environment: Mapping[str, str]) -> Login:
    user = options.get("sentinel_user") or environment.get("NESYPR_SENTINEL_USER")
    file = options.get("sentinel_password_file")
    return Login(user, _secret(file, environment, "NESYPR_SENTINEL_PASSWORD"))


def _secret(file: str | None, environment: Mapping[str, str], variable: str) -> str | None:
    """The password in a file, in an environment variable, or in the file that another names."""
    if file is None and environment.get(variable):
        return environment[variable]
    file = file or environment.get(f"{variable}_FILE")
    return None if not file else _secret_lines(Path(file))[0]


def read_users(path: Path, role: Role) -> Login:
    """The user of a role, by a file of lines `role user password`.

    Raises ValueError with a sentence: no such file, readable for others, or not of this form.
    """
    for line in _secret_lines(path):
        words = line.split()
        if len(words) != 3 or words[0] not in ROLES:
            raise ValueError(f"{path} must have lines of a role, a user and a password")
        if words[0] == role:
            return Login(words[1], words[2])
    raise ValueError(f"{path} has no user for the {role}")


def _secret_lines(path: Path) -> list[str]:
    """The lines of a file of secrets, without empty ones and those that begin with #."""
    path = path.expanduser()
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ValueError(f"others may read {path}, which holds secrets: chmod 600 it")
            text = file.read(_MOST_SECRET + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > _MOST_SECRET:
        raise ValueError(f"{path} has more than {_MOST_SECRET} bytes: it is no file of secrets")
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines
