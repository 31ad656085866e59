"""What is to be solved: domains, problem generators, simulators, streams, text rendering."""

from tasks.domains import Domain, domain_names, get_domain
from tasks.errors import TaskError
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Action, Atom, Simulator, Task

__all__ = [
    "Action",
    "Atom",
    "Domain",
    "Rendering",
    "Simulator",
    "Task",
    "TaskError",
    "TaskStream",
    "domain_names",
    "get_domain",
    "make_simulator",
]
