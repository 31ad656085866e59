"""What must be right in a file of Ray's cluster launcher, beyond that Ray can read it.

The launcher's own defaults start a cluster that asks for no token and shows its dashboard to
everybody. Decisions here are made on the file with these defaults filled in, as Ray uses it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cluster.dashboard.access import is_loopback
from cluster.launch.cluster_file import Finding, placeholders, strings

TOKEN_ON_HOSTS = "~/.ray/auth_token"
_MODE = re.compile(r"\bRAY_AUTH_MODE=['\"]?(\w+)")
_DASHBOARD = re.compile(r"--dashboard-host[= ]['\"]?([^\s'\"]+)")
_PASSWORD = re.compile(
    r"(?:\b\w*PASSWORD=|--redis-password[= ]|--requirepass[= ]|\bRAY_AUTH_TOKEN=)"
    r"(?!['\"]?\$)['\"]?[^\s'\"]+|://[^/\s:@]*:[^/\s@$]+@"
)
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"


def prepared(config: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """The file as Ray's launcher completes it, and what Ray's own schema finds wrong."""
    import click
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = _addresses(config)
    if wrong:
        return config, wrong
    try:
        complete: dict[str, Any] = prepare_config(config)
        validate_config(complete)
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "the top level"
        return config, [Finding(where, error.message[:200], "see Ray's cluster YAML reference")]
    except (ValueError, KeyError, TypeError, RuntimeError, click.ClickException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return config, [Finding("the file", reason[:300], "see Ray's cluster YAML reference")]
    return complete, []


def _addresses(config: dict[str, Any]) -> list[Finding]:
    """Ray's launcher breaks off in the middle where a provider or a host is not named."""
    provider = config["provider"]
    kind = provider.get("type") if isinstance(provider, dict) else None
    if not isinstance(kind, str):
        return [Finding("provider", "has no type", "write `type: local`, aws, gcp or azure")]
    if kind != "local" or "coordinator_address" in provider:
        return []
    found = []
    if not isinstance(provider.get("head_ip"), str):
        found.append(Finding("provider.head_ip", "is needed", "write the head's address"))
    if not isinstance(provider.get("worker_ips"), list):
        remedy = "write a list of the other hosts' addresses ([] for none)"
        found.append(Finding("provider.worker_ips", "is needed", remedy))
    return found


def check_launcher(config: dict[str, Any], folder: Path) -> list[Finding]:
    """Everything that is wrong; `folder` is where relative `file_mounts` begin."""
    found = placeholders(config)
    complete, wrong = prepared(config)
    if wrong:
        return [*found, *wrong]
    found += _token(complete)
    found += _dashboard(complete)
    found += _autoscaler(complete)
    found += _passwords(config)
    for remote, local in complete.get("file_mounts", {}).items():
        path = Path(str(local)).expanduser()
        if remote != TOKEN_ON_HOSTS and not (folder / path).exists():
            remedy = "call nesypr in the repository's folder, or mend the path"
            found.append(Finding(f"file_mounts.{remote}", f"{folder / path} is missing", remedy))
    return found


def _starts(config: dict[str, Any], key: str) -> list[str]:
    return [command for command in config.get(key, []) if "ray start" in command]


def _modes(config: dict[str, Any]) -> list[tuple[str, str | None]]:
    """For head and workers: the RAY_AUTH_MODE of `ray start`; None where it is not set."""
    found = []
    for key in (HEAD, WORKER):
        for command in _starts(config, key):
            match = _MODE.search(command)
            found.append((key, match.group(1).lower() if match else None))
    return found


def _token(config: dict[str, Any]) -> list[Finding]:
    modes = _modes(config)
    found = [
        Finding(key, "`ray start` without RAY_AUTH_MODE asks for no token", _set_mode())
        for key, mode in modes
        if mode is None
    ]
    if any(mode == "disabled" for _, mode in modes):
        what = "RAY_AUTH_MODE=disabled: whoever reaches the hosts' ports can run code there"
        found.append(Finding(HEAD, what, "write RAY_AUTH_MODE=token", refused=False))
    asked = any(mode == "token" for _, mode in modes)
    named = any("RAY_AUTH_TOKEN_PATH=" in command for command in _starts(config, HEAD))
    if asked and not named and TOKEN_ON_HOSTS not in config.get("file_mounts", {}):
        remedy = f"add `{TOKEN_ON_HOSTS}: {TOKEN_ON_HOSTS}`: Ray copies it over ssh"
        found.append(Finding("file_mounts", "the hosts would have no token", remedy))
    return found


def _set_mode() -> str:
    return "write `export RAY_AUTH_MODE=token;` before it"


def _dashboard(config: dict[str, Any]) -> list[Finding]:
    """On loopback, or else with a token."""
    found = []
    for command in _starts(config, HEAD):
        match = _DASHBOARD.search(command)
        mode = _MODE.search(command)
        if match is None or is_loopback(match.group(1)):
            continue
        what = f"Ray's dashboard listens at {match.group(1)}"
        remedy = "write --dashboard-host=127.0.0.1 and look with `ray dashboard CLUSTER.yaml`"
        refused = mode is None or mode.group(1).lower() != "token"
        found.append(Finding(HEAD, what, remedy, refused))
    return found


def _autoscaler(config: dict[str, Any]) -> list[Finding]:
    """With version 2 of the autoscaler only the first of several own hosts started (measured)."""
    hosts = config["provider"].get("worker_ips", [])
    if config["provider"]["type"] != "local" or len(hosts) < 2:
        return []
    if all("RAY_enable_autoscaler_v2=0" in command for command in _starts(config, HEAD)):
        return []
    what = "with Ray's second autoscaler only the first of several workers starts"
    remedy = "write `export RAY_enable_autoscaler_v2=0;` before `ray start --head`"
    return [Finding(HEAD, what, remedy, refused=False)]


def _passwords(config: dict[str, Any]) -> list[Finding]:
    """Secrets belong into files that only their owner may read."""
    remedy = "name a file (NESYPR_SERVER_PASSWORD_FILE) and mount it with file_mounts"
    return [
        Finding(where, "a password stands in the file", remedy)
        for where, text in strings(config)
        if _PASSWORD.search(text)
    ]
