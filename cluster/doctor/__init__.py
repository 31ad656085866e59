"""`nesypr doctor`: is everything there that a run needs, here and on every host of a cluster?"""

from cluster.doctor.check import Check, verdict_table
from cluster.doctor.everything import check_everything

__all__ = ["Check", "check_everything", "verdict_table"]
