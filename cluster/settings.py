"""From a YAML file, `--set` options and environment variables to one validated `RunConfig`.

Later sources win: the file, then `--set section.key=value`, then `NESYPR__SECTION__KEY=value`.
Values of the last two are YAML; a number in a path is a place in a list
(`stream.phases.0.tasks`). Every error is one sentence that names the source and the key.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

import configs
from configs.addresses import redacted
from configs.errors import ConfigurationError
from configs.schema import RunConfig

ENVIRONMENT_PREFIX = "NESYPR__"

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """A validated configuration; `name_given` if the run's name was chosen for this start."""

    config: RunConfig
    file: Path
    name_given: bool


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the program, by name."""
    folder = Path(configs.__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_settings(
    source: str, assignments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Read `source` (a path, or a name in configs/), apply the overrides and validate.

    Raises ConfigurationError: missing file, YAML that does not parse, an unknown key (with the
    nearest right one), a wrong type or range.
    """
    file = find_config(source)
    values, origins = _read_yaml(file)
    name_given = False
    for path, value, origin in _overrides(assignments, environment or {}):
        _assign(values, path, value, origin)
        origins = {old: words for old, words in origins.items() if old[: len(path)] != path}
        origins[path] = origin
        name_given = name_given or path == ("name",)
    return Settings(_validate(values, origins, str(file)), file, name_given)


def find_config(source: str) -> Path:
    """The file that `source` means. Raises ConfigurationError with the nearest known name."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = shipped_configs()
    if source in shipped:
        return shipped[source]
    if path.is_dir():
        raise ConfigurationError(f"{source} is a folder, but a YAML file is needed")
    raise ConfigurationError(
        f"there is no configuration {source!r}: it is neither a file nor one of "
        f"{', '.join(shipped)}{_did_you_mean(source, shipped)}"
    )


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (3e-3 is one), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _read_yaml(file: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """The file's values, and for every key the words that say where it stands."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: {error.reason}") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}{_place(error)}: {_problem(error)}") from error
    finally:
        loader.dispose()
    if node is None or not isinstance(values, dict):
        raise ConfigurationError(f"{file} must hold keys and values, as `name: quickstart`")
    return values, {path: f"{file}, line {line}" for path, line in _lines(node, ())}


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1
            yield from _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*path, number), value.start_mark.line + 1
            yield from _lines(value, (*path, number))


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    words = " ".join(part for part in parts if part)
    return f"not valid YAML ({words or ' '.join(str(error).split())})"


def _overrides(
    assignments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[KeyPath, Any, str]]:
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        origin = f"--set {redacted(assignment)}"
        if not equals or not key.strip():
            raise ConfigurationError(f"{origin}: write it as --set section.key=value")
        yield _key_path(key.strip().split("."), origin), _parse_value(text, origin), origin
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX):
            keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            origin = f"environment variable {variable}"
            value = _parse_value(environment[variable], origin)
            yield _key_path(keys, origin), value, origin


def _key_path(keys: Sequence[str], origin: str) -> KeyPath:
    if not all(keys):
        raise ConfigurationError(f"{origin}: the key has an empty part")
    return tuple(int(key) if key.isascii() and key.isdigit() else key for key in keys)


def _parse_value(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{origin}: {_problem(error)}") from error


def _assign(values: dict[str, Any], path: KeyPath, value: Any, origin: str) -> None:
    """Put `value` at `path`, making the sections on the way."""
    place: Any = values
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        where = _dotted(path[:depth]) or "the configuration"
        if isinstance(place, dict):
            if last:
                place[key] = value
            else:
                if place.get(key) is None:
                    place[key] = {}
                place = place[key]
        elif isinstance(place, list):
            if not isinstance(key, int) or key >= len(place):
                raise ConfigurationError(
                    f"{origin}: {where} is a list of {len(place)}, "
                    f"so {key!r} must be a number from 0 to {len(place) - 1}"
                )
            if last:
                place[key] = value
            else:
                place = place[key]
        else:
            raise ConfigurationError(f"{origin}: {where} is a single value and has no {key!r}")


def _validate(values: dict[str, Any], origins: Mapping[KeyPath, str], file: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        first = problems[0]
        path: KeyPath = first["loc"]
        sentence = f"{_origin(path, origins, file)}: {_explain(path, first)}"
        if len(problems) > 1:
            sentence += f" (and {len(problems) - 1} more)"
        raise ConfigurationError(sentence) from error


def _origin(path: KeyPath, origins: Mapping[KeyPath, str], file: str) -> str:
    """Where the value at `path` was set: the deepest known place on the way to it."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return file


def _explain(path: KeyPath, problem: Mapping[str, Any]) -> str:
    key, kind = _dotted(path), problem["type"]
    if kind == "extra_forbidden":
        return f"unknown key {key!r}{_nearest_key(path)}"
    if kind == "missing":
        return f"{key!r} is needed"
    words = re.sub(r"^\w+ should", "it should", problem["msg"].removeprefix("Value error, "))
    words = re.sub(r"a valid dictionary or instance of \w+", "a section of keys", words)
    if kind == "value_error":
        return f"{key + ': ' if key else ''}{words}"
    return f"{key} = {_short(problem['input'])} is not possible: {words}"


def _nearest_key(path: KeyPath) -> str:
    section = _section(path[:-1])
    known = list(section.model_fields) if section is not None else []
    wrong = str(path[-1])
    hint = _did_you_mean(wrong, known)
    if hint:
        return hint
    elsewhere = [_dotted(other) for other in _all_keys(RunConfig, ()) if other[-1] == wrong]
    if elsewhere:
        return f"; did you mean {elsewhere[0]!r}?"
    where = _dotted(path[:-1]) or "the top level"
    return f"; keys of {where}: {', '.join(known)}"


def _did_you_mean(wrong: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _section(path: KeyPath) -> type[BaseModel] | None:
    """The schema's class of the section at `path`."""
    section: type[BaseModel] | None = RunConfig
    for key in path:
        if isinstance(key, int):
            continue
        if section is None or key not in section.model_fields:
            return None
        section = _section_class(section.model_fields[key].annotation)
    return section


def _section_class(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _all_keys(section: type[BaseModel], path: KeyPath) -> Iterator[KeyPath]:
    for key, field in section.model_fields.items():
        yield (*path, key)
        below = _section_class(field.annotation)
        if below is not None and not typing.get_args(field.annotation):
            yield from _all_keys(below, (*path, key))


def _dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
