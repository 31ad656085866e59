import numpy as np
import pytest

from configs.schema import DistillationConfig, RenderingConfig
from learner.curriculum import HARD, Curriculum, draw, single, single_decisions
from learner.replay import named_generator
from shared_memory.records import Trace

DOMAINS = ("blocks", "ferry")


@pytest.fixture
def traces() -> list[Trace]:
    return [
        Trace(number, f"{number:032x}", DOMAINS[number % 2], 0, "mimir", "text", ("",), ("go",))
        for number in range(12)
    ]


def test_what_is_all_right_is_drawn_evenly() -> None:
    drawn = draw(np.zeros(4), 4000, named_generator(0, "draws"))
    assert np.bincount(drawn).tolist() == pytest.approx([1000] * 4, abs=120)


def test_a_share_of_the_draws_is_by_wrongness() -> None:
    drawn = draw(np.array([0.0, 0.0, 0.25, 0.75]), 4000, named_generator(0, "draws"))
    hard = 4000 * HARD * 0.75**2
    even = (4000 - hard) / 4
    expected = [even, even, even + hard / 4, even + hard * 3 / 4]
    assert np.bincount(drawn).tolist() == pytest.approx(expected, abs=120)


def test_draws_are_even_while_all_is_wrong() -> None:
    drawn = draw(np.array([1.0, 1.0, 0.9, 1.0]), 4000, named_generator(0, "draws"))
    assert np.bincount(drawn).tolist() == pytest.approx([1000] * 4, abs=120)


def test_decisions_are_single_where_each_has_a_prompt_of_its_own() -> None:
    four, all_of_it = DistillationConfig(decisions=4), DistillationConfig()
    assert single(RenderingConfig(observation="prompt"), four)
    assert not single(RenderingConfig(observation="prompt"), all_of_it)
    assert not single(RenderingConfig(observation="changes"), four)


def test_the_curriculum_prefers_domains_that_are_answered_worst(traces: list[Trace]) -> None:
    curriculum = Curriculum(traces, named_generator(1, "curriculum 0"))
    domains = [trace.domain for trace in traces]
    assert {domains[number] for number in curriculum.draw(50)} == set(DOMAINS)
    for _ in range(300):
        curriculum.learn([domains.index("blocks"), domains.index("ferry")], [1.0, 0.0])
    assert curriculum.exact["blocks"] > 0.99
    assert curriculum.exact["ferry"] == 0.0
    drawn = [domains[number] for number in curriculum.draw(600)]
    assert 2 < drawn.count("blocks") < 30  # 0.02 against 1.02: a fiftieth


def test_the_curriculum_prefers_traces_that_were_answered_worst(traces: list[Trace]) -> None:
    curriculum = Curriculum(traces, named_generator(1, "curriculum 0"))
    blocks = [number for number, trace in enumerate(traces) if trace.domain == "blocks"]
    wrong = blocks[:2]
    curriculum.learn(blocks, [0.5 if number in wrong else 1.0 for number in blocks])
    drawn = [number for number in curriculum.draw(4000) if number in blocks]
    assert {*drawn} == {*blocks}  # what is right is not forgotten
    hard = HARD * (1 - 1 / len(blocks)) ** 2  # two of them half wrong
    expected = hard + (1 - hard) * 2 / len(blocks)
    assert sum(number in wrong for number in drawn) / len(drawn) == pytest.approx(expected, abs=0.1)


def test_single_decisions_hold_what_the_trace_holds() -> None:
    text = "<domain> blocks <goal> on a b <state> clear"
    trace = Trace(1, "d", "blocks", 0, "mimir", text, ("", f"{text} b"), ("pickup a", "stack a b"))
    first, second = single_decisions(trace)
    assert (first.prompt, first.observations, first.actions) == (text, ("",), ("pickup a",))
    assert (second.prompt, second.observations, second.actions) == (
        f"{text} b",
        ("",),
        ("stack a b",),
    )
