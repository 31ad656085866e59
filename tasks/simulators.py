"""Choosing a simulator for a domain.

A world that is not written in PDDL brings its own. For PDDL there are two: Mimir is the
fast one and PDDLGym the reference. `auto` takes Mimir wherever it reads the domain;
`tests/tasks/test_simulators_agree.py` walks both at random, step by step, over every domain with
a generator, and its slow part over every other domain that both run.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from typing import Literal

from tasks.domains import Domain, get_pddl_domain
from tasks.errors import TaskError
from tasks.pddl_domain import PddlDomain, pddlgym_names
from tasks.task import Simulator

SimulatorKind = Literal["auto", "pddlgym", "mimir"]

NEEDS_PROLOG = frozenset({"or", "imply", "forall", "exists", "derived"})
"""Features of conditions that PDDLGym hands to SWI-Prolog."""

NOT_ALIKE: dict[str, str] = {}
"""Domains in which Mimir and PDDLGym differ, and why; there `auto` takes the reference."""


def make_simulator(domain: Domain, kind: SimulatorKind = "auto") -> Simulator:
    """A simulator for the domain's tasks, to be used again for each of them.

    `kind` chooses among the simulators of PDDL; other worlds have one. `TaskError` if that
    simulator (or, for "auto", none) can run the domain.
    """
    if not isinstance(domain, PddlDomain):
        return domain.make_simulator()
    if kind == "auto":
        kind = choose_simulator(domain)
    if kind == "pddlgym":
        from tasks.pddlgym_simulator import PddlGymSimulator

        reference: Simulator = PddlGymSimulator(domain)
        return reference
    from tasks.mimir_simulator import MimirSimulator

    return MimirSimulator(domain)


def choose_simulator(domain: PddlDomain) -> Literal["pddlgym", "mimir"]:
    """What `auto` means for the domain; `TaskError` says why nothing can run it."""
    reason = why_not_mimir(domain.name)
    if not reason:
        return "mimir"
    reason_too = why_not_pddlgym(domain)
    if not reason_too:
        return "pddlgym"
    both = reason if reason == reason_too else f"Mimir: {reason}; PDDLGym: {reason_too}"
    raise TaskError(f"no simulator can run domain '{domain.name}': {both}")


def why_this_simulator(domain: Domain) -> str:
    """Why `auto` takes what it takes, for lists; `TaskError` if nothing can run the domain."""
    if not isinstance(domain, PddlDomain):
        return "the world's own"
    if choose_simulator(domain) == "mimir":
        agree = " that agree" if domain.name in pddlgym_names() else ""
        return f"the faster of two{agree}: Mimir reads the domain"
    return f"Mimir is not taken: {why_not_mimir(domain.name)}"


@lru_cache(maxsize=256)
def why_not_mimir(name: str) -> str:
    """Why Mimir is not taken for the domain; "" if it is."""
    domain = get_pddl_domain(name)
    if "probabilistic" in domain.definition.features:
        return "its actions have outcomes by chance"
    if name in NOT_ALIKE:
        return NOT_ALIKE[name]
    from tasks.mimir_simulator import MimirSimulator

    try:
        MimirSimulator(domain)
    except TaskError as error:
        return " ".join(str(error).split())
    return ""


def why_not_pddlgym(domain: PddlDomain) -> str:
    """Why PDDLGym cannot run the domain (its tasks must be deterministic); "" if it can."""
    features = domain.definition.features
    if "probabilistic" in features:
        return "its actions have outcomes by chance"
    if features & {"when", "forall effect"}:
        return "PDDLGym has no conditional effects"
    if features & NEEDS_PROLOG and shutil.which("swipl") is None:
        used = ", ".join(sorted(features & NEEDS_PROLOG))
        return f"its conditions ({used}) need SWI-Prolog: install swipl"
    return ""
