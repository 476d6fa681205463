"""A measure is a function: what its registration alone gives it, and how a statistic is split by type."""

import numpy as np
import pandas as pd
import pytest
from small_judge import small_judge

from toycrystals.crystals.dataset import DatasetSpec, redraw
from toycrystals.metrics.base import ALL, MEASURES, ON_CODES, ON_IMAGES, Measure, by_type, declare, on_codes, on_images, rows_of
from toycrystals.metrics.comparison import tidy, z_scores
from toycrystals.metrics.intervals import Estimate, bootstrap_weights, mean, share
from toycrystals.metrics.measures import MEASURES as ALL_MEASURES
from toycrystals.results.catalogue import label_of

SPEC, N = DatasetSpec("rot_only", 2, 16, seed=0), 24


@pytest.fixture
def registries():
    """What a test registers is forgotten after it."""
    measures, on_images, on_codes = dict(MEASURES), list(ON_IMAGES), list(ON_CODES)
    yield
    MEASURES.clear()
    MEASURES.update(measures)
    ON_IMAGES[:], ON_CODES[:] = on_images, on_codes


@pytest.mark.usefixtures("registries")
def test_a_function_is_all_that_a_new_measure_needs():
    """It is measured, has its side beside a floor, and a name; nothing else knows of it."""

    @on_images("distribution", brightness="near", brightest="higher")
    def brightness(judged):
        levels = judged.unit.mean(axis=(1, 2))
        return {("brightness", ALL): mean(levels, judged.weights), ("brightest", ALL): Estimate(levels.max())}

    judge = small_judge(SPEC, N)
    held_out = judge.held_out
    images = redraw(SPEC, held_out.type, held_out.factors).images
    measured, _ = judge(images, bootstrap_weights(held_out.type, 9), answers=False)
    assert measured["brightness", ALL].value == pytest.approx(images.mean() / 255, rel=1e-5)
    assert measured["brightness", ALL].low < measured["brightness", ALL].high
    assert ALL_MEASURES["brightness"] == Measure("near", "distribution")
    assert label_of("brightness").label == "brightness"

    # Three deviations below the floor: worse where near is better and where higher is.
    def measures(value):
        return dict.fromkeys([("brightness", ALL), ("brightest", ALL)], Estimate(value))

    values = 1.0 + 0.1 * np.sqrt(0.95) * np.resize([-1, 1], 20)
    floor = pd.concat(rows_of("real", measures(value)).assign(draw=draw) for draw, value in enumerate(values))
    assert list(tidy("x", 3 * [measures(1.3)], floor)["verdict"]) == ["", "at floor"]
    below = tidy("x", 3 * [measures(0.7)], floor)
    assert list(below["verdict"]) == ["", ""]
    assert z_scores(below).loc["x"].to_dict() == pytest.approx({"brightness": 3.0, "brightest": 3.0})


@pytest.mark.usefixtures("registries")
def test_registration_leaves_the_function_as_it_is_and_keeps_images_and_codes_apart():
    def nothing(judged):
        return {}

    assert on_codes("latent", nothing_of_codes="lower")(nothing) is nothing
    assert nothing in ON_CODES
    assert nothing not in ON_IMAGES
    declare("swap", by_hand="near")
    assert MEASURES["nothing_of_codes"] == Measure("lower", "latent")
    assert MEASURES["by_hand"] == Measure("near", "swap")


def test_no_function_is_registered_twice():
    assert len(set(ON_IMAGES)) == len(ON_IMAGES) > 0
    assert len(set(ON_CODES)) == len(ON_CODES) > 0


def test_by_type_takes_the_rows_of_each_type_with_their_weights():
    rng = np.random.default_rng(0)
    types = rng.integers(0, 3, 40) + (rng.random(40) < 0.5)  # 0 to 3, of which the test below drops 2
    types[types == 2] = 3
    values, weights = rng.normal(size=40), bootstrap_weights(types, 30)
    found = by_type("name", values, types, weights, mean)
    assert set(found) == {("name", kind) for kind in (ALL, "square", "rectangular", "honeycomb")}
    assert found["name", ALL].value == pytest.approx(values.mean())
    expected = mean(values[types == 3], weights[:, types == 3])
    assert found["name", "honeycomb"][:3] == expected[:3]
    np.testing.assert_array_equal(found["name", "honeycomb"].replicates, expected.replicates)


def test_by_type_of_no_rows_has_no_value():
    nothing = np.empty(0, dtype=np.int64)
    found = by_type("name", nothing > 0, nothing, np.empty((5, 0), dtype=np.float32), share)
    assert list(found) == [("name", ALL)]
    assert np.isnan(found["name", ALL].value)
