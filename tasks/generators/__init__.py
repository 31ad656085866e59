"""Seeded problem generators for PDDLGym's own domain files."""

from tasks.generators.blocks import BLOCKS
from tasks.generators.ferry import FERRY
from tasks.generators.generator import Generator, Parameter
from tasks.generators.gripper import GRIPPER
from tasks.generators.hanoi import HANOI

GENERATORS = {"blocks": BLOCKS, "gripper": GRIPPER, "ferry": FERRY, "hanoi": HANOI}
"""By the name of the domain."""

__all__ = ["GENERATORS", "Generator", "Parameter"]
