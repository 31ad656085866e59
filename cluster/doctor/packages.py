"""What is installed: the locked versions, Ray, torch, the simulators."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import configs
from cluster.doctor.check import Check


def lock_file() -> Path:
    """Where `requirements.lock` lies in a checkout."""
    return Path(configs.__file__).resolve().parent.parent / "requirements.lock"


def check_packages(lock: Path) -> Check:
    """Installed versions must be those of the lock; development tools may be absent."""
    if not lock.is_file():
        return Check("packages", "warning", f"no {lock}", "run from a checkout to compare versions")
    needed = needed_by_nesypr()
    absent, different = [], []
    for name, wanted in _locked_versions(lock).items():
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            if name in needed:
                absent.append(name)
            continue
        if found != wanted:
            different.append(f"{name} {found} instead of {wanted}")
    remedy = "pip install -r requirements.lock"
    if absent:
        return Check("packages", "broken", f"absent: {', '.join(absent)}", remedy)
    if different:
        return Check("packages", "warning", "; ".join(different)[:300], remedy)
    return Check("packages", "ok", f"as in {lock.name}")


def _locked_versions(lock: Path) -> dict[str, str]:
    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pairs = (
        (line.partition("==")[0], line.partition("==")[2])
        for line in lines
        if "==" in line and not line.startswith("#")
    )
    return dict(pairs)


def needed_by_nesypr() -> set[str]:
    """Names of the packages that the program requires."""
    requirements = metadata.requires("nesypr") or []
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements if "extra ==" not in line)
    return {name.group() for name in names if name}


def check_ray() -> Check:
    """Ray must be importable, in the one minor version whose inner parts the driver relies on."""
    import ray

    if not ray.__version__.startswith("2.60."):
        return Check("ray", "broken", ray.__version__, "pip install 'ray[default,rllib]==2.60.0'")
    return Check("ray", "ok", ray.__version__)


def check_simulators() -> Check:
    """A domain can be read and its simulator made."""
    from tasks.domains import get_domain
    from tasks.simulators import make_simulator

    make_simulator(get_domain("blocks"))
    return Check("simulators", "ok", f"pymimir {metadata.version('pymimir')}, PDDLGym's domains")


def check_torch() -> Check:
    """Torch must be importable."""
    import torch

    cuda = f", CUDA {torch.version.cuda}" if torch.cuda.is_available() else ", no GPU needed"
    return Check("torch", "ok", torch.__version__ + cuda)
