"""Act: vectorised episodes, the policy with contrastive reconstruction, outcomes to the banks.

What needs torch or Ray is not exported here: `actors.policy`, `actors.service`, `actors.actor`.
"""

from actors.errors import ActingError

__all__ = ["ActingError"]
