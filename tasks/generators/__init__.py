"""Seeded problem generators for PDDLGym's own domain files."""

from tasks.generators.baking import BAKING
from tasks.generators.blocks import BLOCKS
from tasks.generators.depot import DEPOT
from tasks.generators.doors import DOORS
from tasks.generators.ferry import FERRY
from tasks.generators.fridge import FRIDGE
from tasks.generators.generator import Generator, Parameter
from tasks.generators.glibrearrangement import GLIBREARRANGEMENT
from tasks.generators.gripper import GRIPPER
from tasks.generators.hanoi import HANOI
from tasks.generators.hiking import HIKING
from tasks.generators.manylogistics import MANYLOGISTICS
from tasks.generators.manymiconic import MANYMICONIC
from tasks.generators.meetpass import MEETPASS
from tasks.generators.minecraft import MINECRAFT
from tasks.generators.newspapers import NEWSPAPERS
from tasks.generators.onearmedgripper import ONEARMEDGRIPPER
from tasks.generators.slidetile import SLIDETILE
from tasks.generators.spannerlearning import SPANNERLEARNING
from tasks.generators.trapnewspapers import TRAPNEWSPAPERS
from tasks.generators.travel import TRAVEL
from tasks.generators.visit_all import VISIT_ALL

GENERATORS = {
    "blocks": BLOCKS,
    "gripper": GRIPPER,
    "ferry": FERRY,
    "hanoi": HANOI,
    "manymiconic": MANYMICONIC,
    "newspapers": NEWSPAPERS,
    "trapnewspapers": TRAPNEWSPAPERS,
    "spannerlearning": SPANNERLEARNING,
    "manylogistics": MANYLOGISTICS,
    "baking": BAKING,
    "onearmedgripper": ONEARMEDGRIPPER,
    "fridge": FRIDGE,
    "doors": DOORS,
    "visit_all": VISIT_ALL,
    "depot": DEPOT,
    "travel": TRAVEL,
    "minecraft": MINECRAFT,
    "glibrearrangement": GLIBREARRANGEMENT,
    "hiking": HIKING,
    "meetpass": MEETPASS,
    "slidetile": SLIDETILE,
}
"""By the name of the domain."""

__all__ = ["GENERATORS", "Generator", "Parameter"]
