"""What is looked at before a run starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.conduct import check_stream
from cluster.settings import load_settings
from tasks.domains import get_pddl_domain
from tasks.errors import TaskError

SHARES = {
    "at most five blocks": "{name: blocks, size: {blocks: [2, 5]}}",
    "five blocks in the end": "{name: blocks, size: {blocks: [2, 3]}, drift_to: {blocks: [2, 5]}}",
    "a file with five blocks": "{name: FOLDER, source: files}",
}


@pytest.mark.parametrize("kind", SHARES)
def test_too_few_names_for_the_largest_tasks_are_refused_at_once(kind: str, tmp_path: Path) -> None:
    blocks = get_pddl_domain("blocks")
    (tmp_path / "domain.pddl").write_text(blocks.text)
    for number, size in enumerate((3, 3, 3, 3, 5)):
        task = blocks.draw({"blocks": (size, size)}, number)
        (tmp_path / f"p{number}.pddl").write_text(task.problem)
    share = SHARES[kind].replace("FOLDER", str(tmp_path))
    settings = (
        f"stream.phases=[{{name: one, tasks: 4, domains: [{share}]}}]",
        "stream.probe_tasks=1",
    )
    check_stream(load_settings("quickstart", [*settings, "rendering.objects_per_type=5"]).config)
    few = load_settings("quickstart", [*settings, "rendering.objects_per_type=4"]).config
    with pytest.raises(TaskError, match=r"has 5 objects .* 4 names: raise rendering.objects_per"):
        check_stream(few)
