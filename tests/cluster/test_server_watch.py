"""An alarm once each time that a server comes near its memory limit."""

from cluster.server_watch import ServerWatch, waited_sentence
from shared_memory.bank_reading import ServerMemory


def test_an_alarm_once_each_time() -> None:
    watch = ServerWatch()

    def look(used: int, limit: int = 1000) -> bool:
        sentence = watch.look(ServerMemory(used * 2**20, limit * 2**20, 0))
        assert sentence is None or f"takes {used} MiB of the {limit} MiB" in sentence
        return sentence is not None

    used = (100, 949, 950, 999, 1001, 920, 960, 899, 951)
    assert [look(each) for each in used] == [
        *(False, False, True, False, False, False, False, False, True)
    ]
    assert not look(10**6, limit=0)


def test_who_waited_is_told() -> None:
    sentence = waited_sentence("actor-3", 12.34)
    assert "actor-3 waited 12.3 s" in sentence
    assert "nothing was lost" in sentence
