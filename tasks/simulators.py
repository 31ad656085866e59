"""Choosing a simulator for a domain."""

from __future__ import annotations

from typing import Literal

from tasks.domains import Domain
from tasks.task import Simulator

SimulatorKind = Literal["auto", "pddlgym", "mimir"]


def make_simulator(domain: Domain, kind: SimulatorKind = "auto") -> Simulator:
    """A simulator for the domain's tasks, to be used again for each of them.

    "pddlgym" is the reference, "mimir" the fast one; "auto" takes Mimir where it is known to do
    the same (`simulator_for`). `TaskError` if that simulator cannot run the domain.
    """
    if kind == "pddlgym":
        from tasks.pddlgym_simulator import PddlGymSimulator

        return PddlGymSimulator(domain)
    from tasks.mimir_simulator import MimirSimulator

    return MimirSimulator(domain)
