"""A learner in a process of its own, to be killed: python learner_process.py URL FOLDER."""

import sys
from pathlib import Path

from learner_world import ParrotStudent, setting

from configs.schema import SharedMemoryConfig
from learner.learner import LearnerService
from shared_memory.connection import connect

if __name__ == "__main__":
    connection = connect(SharedMemoryConfig(), sys.argv[1])
    student = ParrotStudent(step_s=0.01)
    LearnerService(setting(Path(sys.argv[2])), connection, lambda: student).run()
