"""A password is in no saved configuration, message or repr, wherever it was given.

`test_servers_page` does the same with whole runs, and `test_launch_commands` with Ray's token.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.dashboard.serving import bind
from cluster.ray_token import ensure_token_file, token_place
from cluster.run_folder import RunFolder
from cluster.server_check import check_server
from cluster.settings import load_settings
from configs.errors import ConfigurationError

SECRET = "s3same-open"
URLS = (
    f"redis://user:{SECRET}@127.0.0.1:1/0",
    f"rediss+sentinel://:{SECRET}@a:1,b:2/banks",
    f"redis://127.0.0.1:1?password={SECRET}",
)


@pytest.mark.parametrize("url", URLS)
def test_a_run_keeps_no_password(url: str, tmp_path: Path) -> None:
    config = load_settings("smoke", [f"shared_memory.url={url}"]).config
    assert config.shared_memory.url == url
    assert SECRET not in repr(config) + str(config) + config.model_dump_json()
    with RunFolder.create(tmp_path, "mine", numbered=False) as folder:
        folder.write_config(config)
        for file in folder.path.rglob("*"):
            assert not file.is_file() or SECRET not in file.read_text(encoding="utf-8"), file
        assert load_settings(str(folder.config_file)).config.shared_memory.url != url


@pytest.mark.parametrize("url", URLS)
def test_a_misspelt_key_does_not_tell_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings("smoke", [f"shared_memory.ulr={url}"])
    assert "unknown key 'shared_memory.ulr'" in str(caught.value)
    assert SECRET not in str(caught.value)
    environment = {"NESYPR__SHARED_MEMORY__ULR": url}
    with pytest.raises(ConfigurationError) as caught:
        load_settings("smoke", (), environment)
    assert SECRET not in str(caught.value)


def test_a_server_that_does_not_answer_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESYPR_SERVER_PASSWORD", SECRET)
    memory = load_settings("smoke").config.shared_memory
    for url in (URLS[0], "redis://127.0.0.1:1"):
        found = check_server(memory, url)
        assert found.state == "broken"
        assert SECRET not in found.found + found.remedy


def test_where_a_token_is_does_not_tell_it(tmp_path: Path) -> None:
    file, _ = ensure_token_file({"HOME": str(tmp_path)})
    for environment in ({"HOME": str(tmp_path)}, {"RAY_AUTH_TOKEN": SECRET}):
        place = str(token_place(environment))
        assert SECRET not in place
        assert file.read_text() not in place


def test_the_page_is_open_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NESYPR_DASHBOARD_TOKEN", raising=False)
    here = bind()
    with here.listening:
        assert here.token is None
        assert here.listening.getsockname()[0] == "127.0.0.1"
    everywhere = bind("0.0.0.0")
    with everywhere.listening:
        assert everywhere.token is not None
        assert f"#token={everywhere.token}" in everywhere.url
