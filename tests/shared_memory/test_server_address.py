"""What URLs say, which credentials are found, and that no secret is told."""

from pathlib import Path

import pytest

from configs.addresses import redacted, without_password
from configs.schema import RunConfig, SharedMemoryConfig
from shared_memory.errors import SharedMemoryError
from shared_memory.server_address import Login, Tls, parse_address

SECRET = "s3same-0pen"


def secret_file(folder: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("url", "kind", "places", "rest"),
    [
        ("redis://host", "standalone", (("host", 6379),), (None, None, 0)),
        ("redis://host:1/3", "standalone", (("host", 1),), (None, None, 3)),
        ("redis://", "standalone", (("localhost", 6379),), (None, None, 0)),
        ("redis://[::1]:7/0", "standalone", (("::1", 7),), (None, None, 0)),
        ("redis://[::1]", "standalone", (("::1", 6379),), (None, None, 0)),
        ("unix:///run/a%20b.sock?db=2", "standalone", (), ("/run/a b.sock", None, 2)),
        (
            "redis+sentinel://a,b:5/banks/2",
            "sentinel",
            (("a", 26379), ("b", 5)),
            (None, "banks", 2),
        ),
        ("redis+cluster://a:1,b", "cluster", (("a", 1), ("b", 6379)), (None, None, 0)),
    ],
)
def test_forms(
    url: str,
    kind: str,
    places: tuple[tuple[str, int], ...],
    rest: tuple[str | None, str | None, int],
) -> None:
    address = parse_address(url, environment={})
    assert (address.kind, address.places) == (kind, places)
    assert (address.path, address.service, address.database) == rest
    assert address.tls is None
    assert address.login == Login()


def test_tls(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("")
    given = "&".join(f"{name}={tmp_path / name}" for name in ("ca", "cert", "key"))
    for scheme in ("rediss", "rediss+sentinel", "rediss+cluster"):
        address = parse_address(f"{scheme}://host/{'x' * ('sent' in scheme)}?{given}")
        assert address.tls == Tls(*(str(tmp_path / name) for name in ("ca", "cert", "key")))
        assert address.tls.settings()["ssl_cert_reqs"] == "required"
    assert parse_address("rediss://host").tls == Tls()
    unsure = parse_address("rediss://host?verify=none").tls
    assert unsure is not None
    assert unsure.settings()["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://host", "must start with"),
        ("redis+sentinel://host", "name of the primary is missing"),
        ("redis://a,b", "several hosts"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis://host:0", "port"),
        ("redis://host:port", "port"),
        ("redis://host/one", "database"),
        ("unix://run/s.sock", "must begin with /"),
        ("redis://host?ca=x", "for TLS"),
        ("rediss://host?ca=/no/such/file", "there is no file /no/such/file"),
        ("rediss://host?key=/etc/hostname", "key needs cert"),
        ("rediss://host?verify=no", "full or none"),
        ("redis://host?what=1", "there is no option what"),
        (f"redis://host?password={SECRET}", "there is no option password"),
        ("redis://host?password_file=/no/such", "cannot be read"),
        (f"redis://:{SECRET}/@host:x", "port"),
        (f"redis://joe:{SECRET}@host@:x", "port"),
        (f"redis://joe:{SECRET}@host?users=/no/such", "no other user"),
    ],
)
def test_what_is_refused_tells_no_secret(url: str, sentence: str) -> None:
    with pytest.raises(SharedMemoryError, match=sentence) as refusal:
        parse_address(url, environment={})
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_credentials(tmp_path: Path) -> None:
    file = secret_file(tmp_path)
    other = tmp_path / "other"
    other.write_text("from-other")
    other.chmod(0o600)
    named = {"NESYPR_SERVER_PASSWORD": SECRET, "NESYPR_SERVER_USER": "joe"}
    in_file = {"NESYPR_SERVER_PASSWORD_FILE": str(file)}
    for url, environment, login in (
        (f"redis://joe:{SECRET}@host", {}, Login("joe", SECRET)),
        ("redis://:a%40b%2f@host", {}, Login(None, "a@b/")),
        (f"redis://joe@host?password_file={file}", {}, Login("joe", SECRET)),
        ("redis://host", named, Login("joe", SECRET)),
        ("redis://ann@host", named, Login("ann", SECRET)),
        ("redis://ann:own@host", named, Login("ann", "own")),
        ("redis://host", in_file, Login(None, SECRET)),
        (f"redis://host?password_file={other}", named, Login("joe", "from-other")),
        ("unix:///run/s.sock", named, Login()),  # an embedded server knows no passwords
        (f"unix://joe:{SECRET}@/run/s.sock", {}, Login("joe", SECRET)),
    ):
        address = parse_address(url, environment=environment)
        assert address.login == login
        assert SECRET not in repr(address)
        assert SECRET not in address.words
    sentinel = parse_address(
        "redis+sentinel://a/banks?sentinel_user=guard",
        environment={"NESYPR_SENTINEL_PASSWORD": SECRET},
    )
    assert sentinel.sentinel_login == Login("guard", SECRET)
    assert sentinel.login == Login()


def test_users_by_role(tmp_path: Path) -> None:
    file = secret_file(tmp_path, f"# users\nactor nesypr-actor {SECRET}\nlearner l p\n")
    url = f"redis://host?users={file}"
    assert parse_address(url, "actor").login == Login("nesypr-actor", SECRET)
    assert parse_address(url, "learner").login == Login("l", "p")
    with pytest.raises(SharedMemoryError, match="has no user for the monitor"):
        parse_address(url, "monitor")
    file.chmod(0o640)
    with pytest.raises(SharedMemoryError, match="chmod 600"):
        parse_address(url, "actor")
    file.chmod(0o600)
    file.write_text(f"chef {SECRET}")
    with pytest.raises(SharedMemoryError, match="lines of a role") as refusal:
        parse_address(url, "actor")
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown", "saved"),
    [
        ("redis://host", "redis://host", "redis://host"),
        ("redis://joe@host", "redis://joe@host", "redis://joe@host"),
        ("rediss://joe:x@h:1/0", "rediss://joe:***@h:1/0", "rediss://joe@h:1/0"),
        ("redis://:x@h", "redis://:***@h", "redis://h"),
        ("redis://:a/b@c@h", "redis://:***@h", "redis://h"),
        ("redis+sentinel://u:x@a,b/s", "redis+sentinel://u:***@a,b/s", "redis+sentinel://u@a,b/s"),
        ("redis://h?password=x&db=1", "redis://h?password=***&db=1", "redis://h?password=***&db=1"),
        ("nonsense", "nonsense", "nonsense"),
    ],
)
def test_messages_and_saved_files_have_no_passwords(url: str, shown: str, saved: str) -> None:
    assert redacted(url) == shown
    assert without_password(url) == saved


def test_a_saved_configuration_has_no_password() -> None:
    memory = SharedMemoryConfig(url=f"redis://joe:{SECRET}@host/1")
    assert memory.model_dump(mode="json")["url"] == "redis://joe@host/1"
    assert SECRET not in memory.model_dump_json() + repr(memory)
    assert memory.url is not None
    assert SECRET in memory.url
    fields = RunConfig.model_fields["shared_memory"]
    assert fields.annotation is SharedMemoryConfig
