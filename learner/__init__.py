"""Turn traces into a better model: planners as teachers, replay, distillation, publication.

The learner itself (`learner.learner`) and the distillation step (`learner.distillation`) are not
exported here: they need torch, which the teacher's processes must not load.
"""

from learner.errors import LearnerError
from learner.planners import MimirPlanner, PlanLimits, Planner, PlanOutcome
from learner.traces import teach

__all__ = ["LearnerError", "MimirPlanner", "PlanLimits", "PlanOutcome", "Planner", "teach"]
