import errno
import shutil
from pathlib import Path
from typing import Never

import pytest

from learner.checkpoint import CheckpointFolder, read_checkpoint
from learner.errors import LearnerError


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.latest(pytest.fail) is None
    for number in range(4):
        folder.write({"state": bytes([number]), "model.safetensors": b"w" * number})
    assert [path.name for path in folder.paths()] == [
        "checkpoint-000000002",
        "checkpoint-000000003",
    ]
    stored = folder.latest(pytest.fail)
    assert stored is not None
    assert stored.files == {"state": b"\x03", "model.safetensors": b"www"}


@pytest.mark.parametrize("harm", ["content", "missing", "manifest", "schema", "outside"])
def test_a_corrupted_one_is_refused_by_name_and_the_one_before_used(
    tmp_path: Path, harm: str
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write({"state": b"old"})
    newest = folder.write({"state": b"new"})
    manifest = newest / "manifest.json"
    if harm == "content":
        (newest / "state").write_bytes(b"neW")
    elif harm == "missing":
        (newest / "state").unlink()
    elif harm == "manifest":
        manifest.write_text("{")
    elif harm == "schema":
        manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 9'))
    else:
        manifest.write_text(manifest.read_text().replace('"state"', '"../state"'))
    refused = []
    stored = folder.latest(refused.append)
    assert stored is not None
    assert stored.files == {"state": b"old"}
    assert len(refused) == 1
    assert newest.name in refused[0]
    shutil.rmtree(folder.paths()[0])
    with pytest.raises(LearnerError, match="all 1 checkpoints"):
        folder.latest(refused.append)


def test_what_a_killed_writer_left_is_ignored_and_cleared(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write({"state": b"good"})
    (tmp_path / "writing-abc").mkdir()
    (tmp_path / "writing-abc" / "state").write_bytes(b"ha")
    stored = folder.latest(pytest.fail)
    assert stored is not None
    assert stored.files == {"state": b"good"}
    folder.write({"state": b"better"})
    assert not (tmp_path / "writing-abc").exists()


def test_a_full_disk_is_said_in_a_sentence_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write({"state": b"old"})

    def full(_: object) -> Never:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("learner.checkpoint.os.fsync", full)
    with pytest.raises(LearnerError, match=r"No space left on device; free space"):
        folder.write({"state": b"new"})
    monkeypatch.undo()
    stored = folder.latest(pytest.fail)
    assert stored is not None
    assert stored.files == {"state": b"old"}
    assert read_checkpoint(stored.path).number == 0
