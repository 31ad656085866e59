"""`nesypr bank acl`: users with the least rights for the roles of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.command_line import Json, print_json
from cluster.run_folder import cannot_write
from configs.errors import ConfigurationError

if TYPE_CHECKING:
    from shared_memory.access import UserRules
    from shared_memory.server_address import Login, Role


def acl(
    url: Annotated[
        str | None, typer.Argument(help="With --apply: the server, as a user who may make users.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Only this run's keys, not those of all runs.")
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            help="The file of users and passwords: read where it is there, else written (0600)."
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the users on the server, and all its replicas.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a server's ACL rules for users driver, actor, learner and monitor, or make them.

    Passwords are generated, or taken from the file, or from NESYPR_ACTOR_PASSWORD and so on;
    where no file is named they are printed, once.
    """
    from shared_memory.access import user_rules
    from shared_memory.server_address import ROLES

    if apply != (url is not None):
        raise ConfigurationError("--apply and the URL of a server go together: give both, or none")
    logins, fresh = _logins(users, os.environ)
    rules = [user_rules(role, logins[role], run) for role in ROLES]
    if users is not None and fresh:
        _write(users, logins)
    servers, saved = _made(url, rules) if url is not None else (0, False)
    shown = {role: logins[role].password for role in ROLES} if users is None else {}
    if as_json:
        rows = [{"role": each.role, "name": each.name, "rules": each.rules} for each in rules]
        print_json({"users": rows, "passwords": shown, "servers": servers, "saved": saved})
        return
    for each in rules:
        typer.echo(each.line)
    for role, password in shown.items():
        typer.echo(f"{logins[role].user} has the password {password}", err=True)
    if users is not None:
        typer.echo(f"passwords: {users.absolute()} (in URLs: ?users={users.absolute()})", err=True)
    if url is not None:
        kept = (
            "and kept in its ACL file"
            if saved
            else ("until it restarts, for it has no ACL file: put the lines above into one")
        )
        typer.echo(f"{len(rules)} users made on {servers} servers, {kept}", err=True)


def _logins(file: Path | None, environment: Mapping[str, str]) -> tuple[dict[Role, Login], bool]:
    """Everybody's name and password, and whether the file is to be written."""
    from shared_memory.access import new_login
    from shared_memory.server_address import ROLES, Login, read_users

    if file is not None and file.exists():
        try:
            return {role: read_users(file, role) for role in ROLES}, False
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    logins = {role: new_login(role) for role in ROLES}
    for role in ROLES:
        password = environment.get(f"NESYPR_{role.upper()}_PASSWORD")
        if password:
            if password.split() != [password]:
                raise ConfigurationError(
                    f"NESYPR_{role.upper()}_PASSWORD has a blank: choose a password without"
                )
            logins[role] = Login(logins[role].user, password)
    return logins, True


def _write(file: Path, logins: Mapping[Role, Login]) -> None:
    from shared_memory.access import logins_text

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(logins_text(logins))
    except OSError as error:
        raise cannot_write(file, error) from error


def _made(url: str, rules: list[UserRules]) -> tuple[int, bool]:
    """Make the users on all servers; on how many, and whether all of them keep the users."""
    from configs.schema import SharedMemoryConfig
    from shared_memory.access import OLDEST_WITH_ROLES
    from shared_memory.connection import call, connect
    from shared_memory.errors import SharedMemoryError

    with closing(connect(SharedMemoryConfig(), url)) as client:
        saved = True
        nodes = client.all_nodes()
        for node in nodes:
            version = str(call(node, "INFO", "server").get("redis_version", "0"))
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_WITH_ROLES:
                raise SharedMemoryError(
                    f"roles need Redis 7.0 or newer (or Valkey), but this server is {version}"
                )
            for each in rules:
                call(node, *each.command)
            try:
                call(node, "ACL", "SAVE")
            except SharedMemoryError as error:
                if "ACL file" not in str(error):
                    raise
                saved = False
        return len(nodes), saved
