"""Ray's token: who has it can run code on a cluster, so that none of several hosts goes without.

Ray (2.60) asks for a token where `RAY_AUTH_MODE=token` was set when `ray start` was called, and
looks for it in `RAY_AUTH_TOKEN`, in the file `RAY_AUTH_TOKEN_PATH`, then in `~/.ray/auth_token`.
Both sides must have the same mode: a driver that expects tokens refuses workers that send none.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from configs.errors import NesyprError

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
_QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""A call that changes nothing, and that is refused without the token as every other is."""
_TOKEN_BYTES = 32
REMEDY = (
    f"set {MODE}=token wherever `ray start` is called, with the same ~/.ray/auth_token on every "
    "host (`ray get-auth-token --generate` makes one; `nesypr up` does all of it)"
)


class RayTokenError(NesyprError):
    """Ray's token is missing, unsafe, or not asked for."""


class RayUnreachableError(NesyprError):
    """Nothing answers where Ray's head should."""


def token_file(environment: Mapping[str, str]) -> Path:
    """The file that Ray reads the token from, whether it is there or not."""
    given = environment.get(TOKEN_PATH)
    home = Path(environment.get("HOME") or Path.home())
    return Path(given).expanduser() if given else home / ".ray" / "auth_token"


def token_place(environment: Mapping[str, str]) -> str | None:
    """In words, where this process has its token from; None where it has none."""
    if environment.get(TOKEN):
        return f"the environment ({TOKEN})"
    file = token_file(environment)
    try:
        return str(file) if file.read_text(encoding="utf-8").strip() else None
    except OSError:
        return None


def ensure_token_file(environment: Mapping[str, str]) -> tuple[Path, bool]:
    """The token's file and whether it was made now. Only its owner may read it afterwards.

    Raises RayTokenError where it cannot be written, is empty, or belongs to somebody else.
    """
    file = token_file(environment)
    try:
        if file.exists():
            if not file.read_text(encoding="utf-8").strip():
                raise RayTokenError(f"{file} is empty: remove it, and a token is made")
            if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                file.chmod(0o600)
            return file, False
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(secrets.token_hex(_TOKEN_BYTES))
    except OSError as error:
        raise RayTokenError(
            f"Ray's token cannot be kept in {file}: {error.strerror}; name another file with "
            f"{TOKEN_PATH}"
        ) from error
    return file, True


def asks_for_token(address: str, deadline_s: float = 15.0) -> bool:
    """Whether Ray's head at HOST:PORT refuses who comes without a token; it is asked without one.

    Raises RayUnreachableError where nothing answers by the deadline, or something that is not Ray.
    """
    import grpc  # type: ignore[import-untyped]

    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        ask = channel.unary_unary(_QUESTION)
        try:
            ask(b"", timeout=deadline_s)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return True
            what = "nothing answers"
            if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                what = f"what answers is no head of Ray ({code.name})"
            raise RayUnreachableError(
                f"{what} at {address}: check that `ray start --head` runs there, and that its "
                "port is open to this host"
            ) from error
    return False


def take_on_token_mode() -> None:
    """Let this process come with its token, as a cluster that asks for one needs.

    Raises RayTokenError where there is no token, or the environment forbids to use it.
    """
    mode = os.environ.get(MODE)
    if mode is not None and mode.lower() != "token":
        raise RayTokenError(
            f"Ray asks for a token, but {MODE}={mode} is set here: unset it, or set it to token"
        )
    if token_place(os.environ) is None:
        raise RayTokenError(
            f"Ray asks for a token, but there is none in {token_file(os.environ)}: copy that "
            f"file from the head, readable for its owner only, or name it with {TOKEN_PATH}"
        )
    if mode is None:
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available,
        )

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def opted_out() -> bool:
    """Whether the environment says that Ray shall do without a token."""
    return os.environ.get(MODE, "").lower() == "disabled"
