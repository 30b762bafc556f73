"""Bit fields and rules on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.quality import ACCEPTED, OBSERVED, BitField, Rule, judge, look_up


@settings(deadline=None)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 65535))
def test_a_field_is_the_number_that_its_bits_spell(one, other, value):
    first, last = sorted((one, other))
    spelled = f"{value:016b}"[::-1][first : last + 1][::-1]
    assert BitField("qc", first, last).of(np.array([value], np.uint16)).tolist() == [int(spelled, 2)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_judging_is_the_same_as_going_through_pixels_one_by_one(dtype, seed):
    rng = np.random.default_rng(seed)
    rules = (
        Rule("low", BitField("a", 0, 2), (0, 1, 5)),
        Rule("middle", BitField("a", 3, 5), (2, 3, 4, 5)),
        Rule("other", BitField("b", 7, 7), (0,)),
    )
    layers = {name: rng.integers(0, np.iinfo(dtype).max + 1, 40).astype(dtype) for name in "ab"}
    observed = rng.random(40) < 0.7
    accepted, counts = judge(rules, layers, observed)
    passes = {
        rule.name: [(int(v) >> rule.field.first) % 2 ** (rule.field.last - rule.field.first + 1) in rule.accept
                    for v in layers[rule.field.layer]]
        for rule in rules
    }  # fmt: skip
    expected = [bool(o) and all(p) for o, *p in zip(observed, *passes.values(), strict=True)]
    assert accepted.tolist() == expected
    rejected = {name: sum(bool(o) and not p for o, p in zip(observed, ps, strict=True)) for name, ps in passes.items()}
    assert counts == {OBSERVED: int(observed.sum()), **rejected, ACCEPTED: sum(expected)}


def test_without_rules_all_that_is_observed_counts():
    observed = np.array([True, False, True])
    accepted, counts = judge((), {}, observed)
    assert accepted.tolist() == [True, False, True]
    assert counts == {OBSERVED: 2, ACCEPTED: 2}


def test_judging_leaves_its_arguments_as_they_were():
    observed, quality = np.ones(4, bool), np.arange(4, dtype=np.uint8)
    judge((Rule("none", BitField("a", 0, 1), (9,)),), {"a": quality}, observed)
    assert observed.all()
    assert quality.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_number_is_looked_up_in_its_own_place(dtype):
    table = np.random.default_rng(0).random(1 << 16) < 0.5
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    np.testing.assert_array_equal(look_up(table, values), table[: len(values)])


def test_rules_describe_themselves():
    assert Rule("CloudState", BitField("FparExtra_QC", 0, 1), (0, 1)).describe() == (
        "CloudState (FparExtra_QC bits 0-1) in 0, 1"
    )
    assert Rule("SnowIce", BitField("FparExtra_QC", 6, 6), (0,)).describe() == "SnowIce (FparExtra_QC bit 6) in 0"
