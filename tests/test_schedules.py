"""Learning-rate schedules: by hand, and as properties of their factors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexp.schedules import Constant, Cosine, Exponential, Step

PROPERTY = settings(max_examples=50, deadline=None, database=None, derandomize=True)
schedules = st.one_of(
    st.just(Constant()),
    st.builds(Cosine, final=st.floats(0, 1)),
    st.builds(Exponential, final=st.floats(1e-6, 1)),
    st.builds(Step, drop=st.floats(0, 1), drops=st.integers(1, 50)),
)


def factors(schedule, *progress: float) -> np.ndarray:
    return schedule.factor(np.array(progress))


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (Constant(), (0, 0.5, 0.99), (1, 1, 1)),
        (Cosine(), (0, 0.25, 0.5, 0.75), (1, 0.8536, 0.5, 0.1464)),
        (Cosine(final=0.2), (0, 0.5, 1), (1, 0.6, 0.2)),
        (Cosine(warmup=0.2), (0, 0.1, 0.2, 0.6, 1), (0, 0.5, 1, 0.5, 0)),
        (Cosine(warmup=1.0), (0, 0.25, 0.75), (0, 0.25, 0.75)),
        (Exponential(final=0.01), (0, 0.5, 1), (1, 0.1, 0.01)),
        (Exponential(final=1.0), (0, 0.5), (1, 1)),
        (Step(), (0, 0.33, 0.34, 0.66, 0.67, 0.99), (1, 1, 0.1, 0.1, 0.01, 0.01)),
        (Step(drop=0.5, drops=4), (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)),
        (Step(drop=0.0, drops=2), (0.49, 0.5), (1, 0)),
    ],
)
def test_factors_by_hand(schedule, progress, expected):
    assert factors(schedule, *progress) == pytest.approx(expected, abs=5e-5)


@PROPERTY
@given(schedule=schedules, steps=st.integers(1, 60))
def test_factors_start_at_1_never_rise_and_stay_between_0_and_1(schedule, steps):
    values = schedule.factor(np.arange(steps) / steps)
    assert values.shape == (steps,)
    assert values[0] == 1
    assert np.all((values >= 0) & (values <= 1))
    assert np.all(np.diff(values) <= 1e-12)


@PROPERTY
@given(warmup=st.floats(0.01, 0.9), final=st.floats(0, 1))
def test_warm_up_rises_evenly_to_1_and_then_the_cosine_begins(warmup, final):
    rising = Cosine(warmup=warmup, final=final).factor(np.linspace(0, warmup, 11))
    assert rising == pytest.approx(np.linspace(0, 1, 11), abs=1e-9)
    rest = np.linspace(0, 1, 11)
    falling = Cosine(warmup=warmup, final=final).factor(warmup + (1 - warmup) * rest)
    assert falling == pytest.approx(Cosine(final=final).factor(rest), abs=1e-9)


@PROPERTY
@given(drops=st.integers(1, 100))
def test_a_drop_comes_with_the_first_step_of_its_part(drops):
    starts = np.arange(drops) / drops
    assert Step(drop=0.9, drops=drops).factor(starts) == pytest.approx(0.9 ** np.arange(drops))


@pytest.mark.parametrize(
    ("schedule", "parameters", "rule"),
    [
        (Cosine, {"warmup": 1.5}, "warmup.*less than or equal to 1.*1.5"),
        (Cosine, {"final": -0.1}, "final.*greater than or equal to 0.*-0.1"),
        (Exponential, {"final": 0.0}, "final.*greater than 0.*0.0"),
        (Exponential, {"final": 1.1}, "final.*less than or equal to 1.*1.1"),
        (Step, {"drops": 0}, "drops.*greater than or equal to 1.*0"),
        (Step, {"drops": 2.5}, "drops.*integer.*2.5"),
        (Step, {"drop": 2.0}, "drop.*less than or equal to 1.*2.0"),
        (Constant, {"final": 0.1}, "final"),
    ],
)
def test_bad_parameters_are_refused_with_rule_and_value(schedule, parameters, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}"):
        schedule(**parameters)
