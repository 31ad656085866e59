"""What the folder exports is there, and nothing else is promised."""

import inspect

import shared_memory


def test_exported_names() -> None:
    assert sorted(shared_memory.__all__) == list(shared_memory.__all__)
    for name in shared_memory.__all__:
        exported = getattr(shared_memory, name)
        assert inspect.getdoc(exported), name
