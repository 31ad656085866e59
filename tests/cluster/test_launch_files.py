"""The files in configs/clusters/ are such as Ray and KubeRay read, and wrong ones are refused."""

from __future__ import annotations

import copy
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kuberay_schema import SCHEMAS, closed

from cluster.launch.cluster_file import (
    PLACEHOLDERS,
    ClusterFileError,
    Finding,
    read_cluster_file,
    strings,
)
from cluster.launch.commands import findings
from cluster.launch.launcher_rules import prepared

HOUSE = Path(__file__).resolve().parents[2]
CLUSTERS = HOUSE / "configs" / "clusters"
LAUNCHER = sorted(CLUSTERS.glob("*.yaml"))
KUBERNETES = sorted((CLUSTERS / "kubernetes").glob("*.yaml"))
CRDS = os.environ.get("KUBERAY_CRDS")


def filled(path: Path, folder: Path, *changes: tuple[str, str]) -> Path:
    """The file with values in the place of its placeholders, and changed."""
    text = path.read_text(encoding="utf-8")
    values = dict(zip(PLACEHOLDERS, ("10.0.0.1", "10.0.0.2", "10.0.0.3", "mine", "example.org")))
    for placeholder, value in values.items():
        text = re.sub(rf"(?<=[ \[]){placeholder}(?=[ ,\]\n/])", value, text)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = folder / path.name
    file.write_text(text, encoding="utf-8")
    return file


def refused(file: Path) -> list[str]:
    return [each.sentence for each in findings(read_cluster_file(file), HOUSE) if each.refused]


def warned(file: Path) -> list[str]:
    found = findings(read_cluster_file(file), HOUSE)
    return [each.sentence for each in found if not each.refused]


def test_there_are_the_files_that_were_promised() -> None:
    assert [path.stem for path in LAUNCHER] == ["aws", "gcp", "on-premise"]
    assert [path.stem for path in KUBERNETES] == ["raycluster", "rayjob", "servers"]


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.stem)
def test_rays_own_schema_takes_a_launchers_file(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", [*LAUNCHER, *KUBERNETES], ids=lambda path: path.stem)
def test_a_shipped_file_waits_for_the_users_values_only(path: Path, tmp_path: Path) -> None:
    documents = read_cluster_file(path).documents
    waiting = {text for found in documents for _, text in strings(found) if text in PLACEHOLDERS}
    assert len(refused(path)) >= len(waiting)
    assert all("is a placeholder" in sentence for sentence in refused(path))
    assert refused(filled(path, tmp_path)) == []
    assert warned(filled(path, tmp_path)) == []


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.stem)
def test_a_launchers_file_mounts_all_that_the_program_is(path: Path) -> None:
    mounts = yaml.safe_load(path.read_text(encoding="utf-8"))["file_mounts"]
    packages = {folder.parent.name for folder in HOUSE.glob("*/__init__.py")}
    assert packages <= set(mounts.values())


def test_everything_runs_the_version_that_is_locked() -> None:
    version = metadata.version("ray")
    named = [
        *(CLUSTERS / "kubernetes" / "Dockerfile", *LAUNCHER, *KUBERNETES),
    ]
    found = {
        match
        for path in named
        for match in re.findall(r"rayproject/ray:([\d.]+)-|rayVersion: \"(.+)\"", path.read_text())
    }
    assert {part for match in found for part in match if part} == {version}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("RAY_AUTH_MODE=token ", "", "without RAY_AUTH_MODE asks for no token; write `export"),
        ("  ~/.ray/auth_token: ~/.ray/auth_token", "  {}", "the hosts would have no token"),
        ("[10.0.0.2, 10.0.0.3]", "[WORKER-1]", "provider.worker_ips.0: WORKER-1 is a placeholder"),
        ("  worker_ips: [10.0.0.2, 10.0.0.3]\n", "", "provider.worker_ips: is needed"),
        ("type: local", "kind: local", "provider: has no type"),
        ("setup_commands:", "set_up_commands:", "('set_up_commands' was unexpected)"),
        (": tasks", ": tusks", "tusks is missing; call nesypr in the repository's folder"),
        ("ulimit -n 65536;", "NESYPR_SERVER_PASSWORD=secret;", "a password stands in the file"),
    ],
)
def test_a_wrong_launchers_file_is_refused(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    if "auth_token" in before:
        file = filled(CLUSTERS / "on-premise.yaml", tmp_path)
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line for line in lines if not line.startswith(before)))
    else:
        file = filled(CLUSTERS / "on-premise.yaml", tmp_path, (before, after))
    found = refused(file)
    assert any(words in sentence for sentence in found), found
    assert not any("secret" in sentence for sentence in found)


def test_what_rays_defaults_would_do_is_refused(tmp_path: Path) -> None:
    """Its dashboard for everybody, and no token."""
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster_name: mine\nprovider: {type: aws, region: us-west-2}\n")
    found = refused(file)
    assert any("Ray's dashboard listens at 0.0.0.0" in sentence for sentence in found)
    assert sum("asks for no token" in sentence for sentence in found) == 2


def test_what_is_allowed_with_a_warning(tmp_path: Path) -> None:
    path = CLUSTERS / "on-premise.yaml"
    changed = filled(path, tmp_path, ("RAY_enable_autoscaler_v2=0", "A=0"))
    assert "only the first of several workers starts" in warned(changed)[0]
    changed = filled(path, tmp_path, ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"))
    assert (refused(changed), len(warned(changed))) == ([], 1)
    changed = filled(path, tmp_path, ("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"))
    assert (refused(changed), len(warned(changed))) == ([], 1)


@pytest.mark.parametrize(
    ("name", "before", "after", "words"),
    [
        ("raycluster", "mode: token", "mode: disabled", "could run code on the cluster"),
        ("raycluster", '"2.60.0"', '"2.40.0"', "is 2.40.0, but Ray 2."),
        ("raycluster", "example.org/", "REGISTRY/", "is a placeholder"),
        ("rayjob", "mode: token", "mode: disabled", "RayJob nesypr-larger, authOptions"),
        ("rayjob", "nesypr-ray-store:6379", "nesypr-banks:6379", "would share the server"),
        ("rayjob", "redis://nesypr", "redis://me:secret@nesypr", "a password stands in a URL"),
        ("servers", "metadata:\n  name: nesypr-runs", "metadata: {}", "is no whole manifest"),
    ],
)
def test_a_wrong_manifest_is_refused(
    tmp_path: Path, name: str, before: str, after: str, words: str
) -> None:
    file = filled(CLUSTERS / "kubernetes" / f"{name}.yaml", tmp_path, (before, after))
    found = refused(file)
    assert any(words in sentence for sentence in found), found
    assert not any("secret@" in sentence for sentence in found)


def test_secrets_in_manifests_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: mine}\n"
    file.write_text(head + "stringData: {password: sesame}\n")
    assert "a secret stands in the file" in refused(file)[0]
    assert "sesame" not in refused(file)[0]
    cluster = CLUSTERS / "kubernetes" / "raycluster.yaml"
    file = filled(cluster, tmp_path, ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_TOKEN"))
    assert "RAY_AUTH_TOKEN stands in the file" in refused(file)[0]


def test_a_pods_outside_service_is_told(tmp_path: Path) -> None:
    file = filled(
        CLUSTERS / "kubernetes" / "raycluster.yaml",
        tmp_path,
        ("headGroupSpec:\n", "headGroupSpec:\n    serviceType: LoadBalancer\n"),
        ("gcsFaultToleranceOptions:", "unused:"),
    )
    assert len(warned(file)) == 2


def test_job_and_cluster_run_on_the_same_hosts() -> None:
    cluster, job = (
        yaml.safe_load((CLUSTERS / "kubernetes" / f"{name}.yaml").read_text())
        for name in ("raycluster", "rayjob")
    )
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_what_manifests_refer_to_exists() -> None:
    made = {
        (document["kind"], document["metadata"]["name"])
        for path in KUBERNETES
        for document in read_cluster_file(path).documents
    }
    text = "".join(path.read_text() for path in KUBERNETES)
    for claim in re.findall(r"claimName: ([\w-]+)", text):
        assert ("PersistentVolumeClaim", claim) in made
    for host in re.findall(r"(?:redis://|redisAddress: )([\w-]+):", text):
        assert ("Service", host) in made
    for secret in re.findall(r"secretKeyRef: \{name: ([\w-]+)", text):
        assert f"kubectl create secret generic {secret} --from-file=password=" in text


def documents_of_ray() -> list[Any]:
    return [
        pytest.param(document, id=path.stem)
        for path in KUBERNETES
        for document in read_cluster_file(path).documents
        if document["apiVersion"].startswith("ray.io/")
    ]


@pytest.mark.parametrize("document", documents_of_ray())
def test_a_manifest_has_known_fields_only(document: dict[str, Any]) -> None:
    """Of those that KubeRay's reference names, the ones that our manifests use."""
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    wrong = copy.deepcopy(document)
    wrong["spec"]["authOption"] = {}
    with pytest.raises(jsonschema.ValidationError, match="authOption"):
        jsonschema.validate(wrong, SCHEMAS[document["kind"]])


def definition(kind: str) -> dict[str, Any]:
    """KubeRay's own, of `ray.io/v1`."""
    text = (Path(str(CRDS)) / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8")
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1"]
    return closed(schema)


@pytest.mark.skipif(not CRDS, reason="needs KUBERAY_CRDS, the folder of KubeRay's CRDs")
@pytest.mark.parametrize("document", documents_of_ray())
def test_kuberays_own_definition_takes_a_manifest(document: dict[str, Any]) -> None:
    """`helm pull kuberay/kuberay-operator --untar` has them in kuberay-operator/crds."""
    plural = f"{document['kind'].lower()}s"
    text = (Path(str(CRDS)) / f"ray.io_{plural}.yaml").read_text(encoding="utf-8")
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1"]
    jsonschema.validate(document, closed(schema))


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    for text, words in (
        ("a: [", r"x\.yaml, line 1, column 5: not valid YAML"),
        ("name: quickstart\n", "is no cluster's file"),
        ("", "is no cluster's file"),
    ):
        file.write_text(text)
        with pytest.raises(ClusterFileError, match=words):
            read_cluster_file(file)
    with pytest.raises(ClusterFileError, match="cannot be read"):
        read_cluster_file(tmp_path / "none.yaml")


def test_findings_are_sentences() -> None:
    finding = Finding("spec", "is wrong", "mend it")
    assert finding.sentence == "spec: is wrong; mend it"
    assert prepared({"provider": {}})[1][0].where == "provider"
