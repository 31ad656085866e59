"""Nothing that a run folder or a server holds is ever unpickled: pickle runs what it reads.

RLlib's own checkpoints (`Algorithm.save`, asked for from Python only) are the exception: its
`class_and_ctor_args.pkl` and state files are pickles of RLlib's; restore only what you wrote.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent.name for path in HOUSE.glob("*/__init__.py"))
FILES = [file for folder in FOLDERS for file in sorted((HOUSE / folder).rglob("*.py"))]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {"load", "loads", "Unpickler", "read_pickle", "find_class"}
RLLIB = {"cluster/algorithm.py": {"restore_from_path"}}
"""Where RLlib itself reads a checkpoint that the user named."""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
            yield from (name.name for name in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """(what the function is an attribute of, its name, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            value = node.func.value
            name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
            yield name, node.func.attr, node


def keyword(call: ast.Call, name: str) -> object:
    for each in call.keywords:
        if each.arg == name and isinstance(each.value, ast.Constant):
            return each.value.value
    return None


def faults(tree: ast.AST, place: str) -> Iterator[str]:
    """What a module does that unpickles, or could."""
    yield from (f"imports {name}" for name in MODULES & set(imports(tree)))
    for owner, name, call in calls(tree):
        if owner == "torch" and name == "load" and keyword(call, "weights_only") is not True:
            yield "torch.load without weights_only=True"
        if owner in ("np", "numpy") and name == "load" and keyword(call, "allow_pickle"):
            yield "numpy.load with allow_pickle"
        if owner == "yaml" and name in ("unsafe_load", "full_load"):
            yield "YAML that makes objects"
        if owner in ("cloudpickle", "pickle") and name in LOADERS:
            yield f"calls {owner}.{name}"
        if name == "restore_from_path" and name not in RLLIB.get(place, ()):
            yield "reads RLlib's pickles"


def test_no_module_reads_pickles() -> None:
    found = {
        str(place): sorted(wrong)
        for file in FILES
        if (place := file.relative_to(HOUSE))
        and (wrong := set(faults(ast.parse(file.read_text(encoding="utf-8")), str(place))))
    }
    assert found == {}
    assert len(FILES) > 200


def test_the_rule_sees_what_it_forbids() -> None:
    program = """
import pickle
from joblib import load
ray.cloudpickle.loads(b"")
torch.load("x")
numpy.load("x", allow_pickle=True)
yaml.unsafe_load("x")
algorithm.restore_from_path("x")
"""
    assert len(set(faults(ast.parse(program), "cluster/report.py"))) == 7
