"""Ray's token: found, made, asked for; a cluster of several hosts does not go without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ray_hosts import RayHosts, ray_hosts

from cluster import ray_token
from cluster.ray_token import RayTokenError, RayUnreachableError

JOIN = """
import ray
from cluster.ray_session import RaySession
with RaySession({address!r}, 1.0):
    print("joined", int(ray.cluster_resources()["CPU"]), "cores")
"""


def test_a_token_is_looked_for_where_ray_looks(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert ray_token.token_place(home) is None
    file, made = ray_token.ensure_token_file(home)
    assert (file, made) == (tmp_path / ".ray" / "auth_token", True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert ray_token.token_place(home) == str(file)
    assert len(file.read_text()) == 64
    other = {**home, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "elsewhere")}
    assert ray_token.token_place(other) is None
    assert "RAY_AUTH_TOKEN" in str(ray_token.token_place({**home, "RAY_AUTH_TOKEN": "secret"}))
    assert "secret" not in str(ray_token.token_place({**home, "RAY_AUTH_TOKEN": "secret"}))


def test_a_token_that_is_there_stays_and_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environment = {"RAY_AUTH_TOKEN_PATH": str(file)}
    file.write_text("mine")
    file.chmod(0o644)
    assert ray_token.ensure_token_file(environment) == (file, False)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("mine", 0o600)
    file.write_text("\n")
    with pytest.raises(RayTokenError, match="is empty: remove it"):
        ray_token.ensure_token_file(environment)
    with pytest.raises(RayTokenError, match="cannot be kept in"):
        ray_token.ensure_token_file({"RAY_AUTH_TOKEN_PATH": str(file / "below")})


def test_nothing_answers() -> None:
    with pytest.raises(RayUnreachableError, match=r"nothing answers at 127\.0\.0\.1:1: check"):
        ray_token.asks_for_token("127.0.0.1:1", deadline_s=2.0)


def join(hosts: RayHosts, address: str, **environment: str) -> tuple[int, str]:
    """What a driver says that joins Ray there: exit code and output."""
    return hosts.run(sys.executable, "-c", JOIN.format(address=address), **environment)


def test_a_driver_comes_with_the_token(tmp_path: Path) -> None:
    ray_token.ensure_token_file({"HOME": str(tmp_path)})
    with ray_hosts(tmp_path) as hosts:
        address = hosts.head("token")
        assert ray_token.asks_for_token(address)
        code, said = join(hosts, address)
        assert (code, "joined 2 cores" in said) == (0, True), said
        (tmp_path / ".ray" / "auth_token").rename(tmp_path / "moved")
        code, said = join(hosts, address)
        assert code == 1
        assert "Ray asks for a token, but there is none in" in said
        code, said = join(hosts, address, RAY_AUTH_MODE="disabled")
        assert "but RAY_AUTH_MODE=disabled is set here" in said


def test_several_hosts_without_a_token_are_refused(tmp_path: Path) -> None:
    with ray_hosts(tmp_path) as hosts:
        address = hosts.head("disabled")
        assert not ray_token.asks_for_token(address)
        code, said = join(hosts, address)
        assert (code, "joined 2 cores" in said) == (0, True), said
        assert "nesypr: warning: Ray at" in said
        hosts.worker("disabled", address, host="127.0.0.2")
        code, said = join(hosts, address)
        assert code == 1
        assert "asks for no token: whoever reaches its ports can run code there" in said
        assert "set RAY_AUTH_MODE=token wherever `ray start` is called" in said
        code, said = join(hosts, address, RAY_AUTH_MODE="disabled")
        assert (code, "joined 4 cores" in said) == (0, True), said
        assert "nesypr: warning: Ray at" in said
