"""Who may look: everybody on this machine, and elsewhere whoever has the token.

On loopback only requests that name this machine are answered, so that no foreign page can read
the run through a visitor's browser (DNS rebinding). Anywhere else every request for data needs the
token, as `Authorization: Bearer TOKEN`; the page takes it from its address' fragment, which a
browser never sends.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets

from configs.errors import ConfigurationError

TOKEN_VARIABLE = "NESYPR_DASHBOARD_TOKEN"
SHORTEST = 16
"""Characters that a token has at least."""
NAMES = ("localhost",)


def is_loopback(host: str) -> bool:
    """Whether an address to bind to, or a host that a request names, is this machine only."""
    if host.lower() in NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def chosen_token(host: str) -> str | None:
    """The token for binding to this host: none on loopback, else the environment's or a new one.

    Raises ConfigurationError where the environment's is too short to be safe.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is not None and len(given) < SHORTEST:
        raise ConfigurationError(
            f"{TOKEN_VARIABLE} has {len(given)} characters, but a token needs at least {SHORTEST}: "
            "leave it out, and one is made"
        )
    if given is not None or is_loopback(host):
        return given
    return secrets.token_urlsafe(24)


def allowed(token: str | None, host_header: str, authorization: str) -> bool:
    """Whether a request for data may be answered; `token` None: only this machine's own."""
    if token is None:
        name = host_header.rsplit(":", 1)[0] if not host_header.endswith("]") else host_header
        return is_loopback(name)
    return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def address(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={token}" if token else "")
