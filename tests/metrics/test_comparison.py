"""Methods beside floors and beside each other."""

import math

import numpy as np
import pandas as pd
import pytest

from toycrystals.metrics.catalogue import CHART, CONTROL_CHART, HEADLINE, METRICS, PRIMARY
from toycrystals.metrics.comparison import (
    COLUMNS,
    Floor,
    compare_pairs,
    draw_values,
    floors,
    from_rows,
    from_tensors,
    headline,
    is_at_floor,
    metrics_json,
    tidy,
    to_tensors,
    z_scores,
)
from toycrystals.metrics.intervals import Estimate, bootstrap_weights, mean
from toycrystals.metrics.mmd import bandwidths, mmd2

# One more draw lies within 0.177 of the mean on one side, or within 0.214 on both.
FLOOR = Floor(mean=1.0, sd=0.1, n=20)


def test_charts_and_primary_metrics_are_in_the_catalogue():
    assert set(CHART) | set(CONTROL_CHART) | set(PRIMARY) | set(HEADLINE.values()) <= set(METRICS)


def test_labels_of_metrics_are_different():
    labels = [metric.label for metric in METRICS.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("mmd2_pca", 1.17, True),
        ("mmd2_pca", 1.18, False),
        ("mmd2_pca", -5.0, True),
        ("matched_psnr", 0.83, True),
        ("matched_psnr", 0.82, False),
        ("matched_psnr", 50.0, True),
        ("auc_boosted", 1.21, True),
        ("auc_boosted", 0.78, False),
        ("density_pca", 1.22, False),
        ("density_pca", 0.78, False),
        ("density_pca", 1.0, True),
        ("mmd2_pca", math.nan, False),
    ],
)
def test_at_floor_is_no_worse_than_real_images_on_the_worse_side(metric, value, expected):
    assert is_at_floor(Estimate(value), metric, FLOOR) is expected


def test_floors_summarise_draws_and_skip_what_has_no_value():
    draws = pd.concat(
        draw_values(d, {("mmd2_pca", "all"): Estimate(float(d)), ("aspect_w1", "all"): Estimate(math.nan)}) for d in range(21)
    )
    result = floors(draws)
    assert set(result) == {("mmd2_pca", "all")}
    floor = result["mmd2_pca", "all"]
    assert (floor.mean, floor.sd, floor.n) == pytest.approx((10.0, np.std(np.arange(21), ddof=1), 21))


@pytest.mark.parametrize("better", ["lower", "higher", "near"])
def test_one_more_draw_is_at_the_floor_as_often_as_said(better):
    rng, inside = np.random.default_rng(0), 0
    for _ in range(4000):
        draws = rng.normal(3.0, 2.0, 21)
        low, high = Floor(draws[:20].mean(), draws[:20].std(ddof=1), 20).bounds(better)
        inside += low <= draws[20] <= high
    assert inside / 4000 == pytest.approx(0.95, abs=0.015)


def test_measures_survive_tensors():
    measures = {
        ("matched_psnr", "all"): Estimate(1.0, 0.5, 1.5, np.array([0.9, 1.1])),
        ("mass_w1", "all"): Estimate(2.0),
    }
    again = from_tensors(*to_tensors(measures))
    assert list(again) == list(measures)
    np.testing.assert_equal(again["matched_psnr", "all"], measures["matched_psnr", "all"])
    assert len(again["mass_w1", "all"].replicates) == 0
    assert math.isnan(again["mass_w1", "all"].low)


def test_rows_give_values_back():
    rows = draw_values(3, {("mass_w1", "all"): Estimate(2.0)})
    ((key, estimate),) = from_rows(rows).items()
    assert key == ("mass_w1", "all")
    assert estimate.value == 2.0


def test_table_says_floor_for_errors_and_ceiling_for_the_rest():
    measures = {
        ("mmd2_pca", "all"): Estimate(1.0, 0.9, 1.1),
        ("matched_psnr", "all"): Estimate(0.5),
        ("rate", "all"): Estimate(3.0),
    }
    table = tidy("x", measures, {("mmd2_pca", "all"): FLOOR, ("matched_psnr", "all"): FLOOR})
    assert list(table.columns) == COLUMNS
    error, quality, other = (row for _, row in table.iterrows())
    assert (error["floor"], error["q95"], error["verdict"]) == (1.0, pytest.approx(1.177, abs=1e-3), "at floor")
    assert math.isnan(error["ceiling"])
    assert (quality["ceiling"], quality["q95"], quality["verdict"]) == (1.0, pytest.approx(0.823, abs=1e-3), "")
    assert math.isnan(quality["floor"])
    assert math.isnan(other["floor"])
    assert math.isnan(other["sd"])


def test_a_method_without_any_lattice_says_so_in_every_row():
    table = tidy("x", {("valid", "all"): Estimate(0.0), ("mmd2_pca", "all"): Estimate(5.0)}, {})
    assert set(table["verdict"]) == {"no valid image"}


def test_z_is_positive_where_worse_and_finite_where_real_images_never_differ():
    floor = {
        ("mmd2_pca", "all"): FLOOR,
        ("matched_psnr", "all"): FLOOR,
        ("type_accuracy_merged", "all"): Floor(1.0, 0.0, 20),
    }
    values = {"mmd2_pca": 2.0, "matched_psnr": 2.0, "type_accuracy_merged": 0.5}
    z = z_scores(tidy("x", {(name, "all"): Estimate(value) for name, value in values.items()}, floor))
    assert z.loc["x", "mmd2_pca"] == pytest.approx(10.0)
    assert z.loc["x", "matched_psnr"] == pytest.approx(-10.0)
    assert z.loc["x", "type_accuracy_merged"] == pytest.approx(500.0)


def test_json_has_a_number_or_nothing():
    measures = {
        ("matched_psnr", "all"): Estimate(1.0),
        ("matched_psnr", "square"): Estimate(2.0),
        ("theta_error_median", "square"): Estimate(3.0),
        ("aspect_w1", "all"): Estimate(math.nan),
    }
    assert metrics_json({"x": measures}) == {"x": {"matched_psnr": 1.0, "matched_psnr_square": 2.0}}


@pytest.fixture(scope="module")
def rivals():
    """Three methods on 200 conditions: a and b alike, c worse in both primary metrics."""
    rng = np.random.default_rng(0)
    n = 200
    real = rng.normal(size=(n, 6)).astype(np.float32)
    weights, widths = bootstrap_weights(np.zeros(n, dtype=np.int64), 200), bandwidths(real)
    pca = {name: (rng.normal(size=(n, 6)) + shift).astype(np.float32) for name, shift in (("a", 0), ("b", 0), ("c", 0.7))}
    mse = {name: rng.gamma(4.0, scale, n) for name, scale in (("a", 1.0), ("b", 1.0), ("c", 2.0))}
    methods = {
        name: {("matched_psnr", "all"): mean(mse[name], weights), ("mmd2_pca", "all"): mmd2(real, pca[name], widths, weights)}
        for name in pca
    }
    return compare_pairs(methods, mse, pca, real, widths).set_index(["metric", "a", "b"])


def test_headline_has_primary_metrics_of_all_and_the_others_of_some():
    measures = {
        ("matched_psnr", "all"): Estimate(47.06789),
        ("matched_psnr", "square"): Estimate(1.0),
        ("mmd2_pca", "all"): Estimate(1.48223e-05),
        ("aspect_w1", "all"): Estimate(0.0123456),
        ("copy_code", "all"): Estimate(math.nan),
    }
    result = headline({"a": measures, "b": measures, "c": {}}, ["b"])
    assert list(result) == list(HEADLINE)
    assert result["psnr"] == {"a": 47.07, "b": 47.07}
    assert result["mmd2"] == {"a": 1.482e-05, "b": 1.482e-05}
    assert result["aspect"] == {"b": 0.01235}
    assert result["copied"] == result["auc"] == {}


def test_every_pair_is_tested_on_both_primary_metrics(rivals):
    assert set(rivals.index) == {(m, *pair) for m in PRIMARY for pair in (("a", "b"), ("a", "c"), ("b", "c"))}


@pytest.mark.parametrize("metric", PRIMARY)
def test_a_worse_method_is_told_from_a_better_one_and_equal_ones_are_not(rivals, metric):
    assert rivals.loc[(metric, "a", "b"), "p"] > 0.05
    assert rivals.loc[(metric, "a", "c"), "p"] < 0.001
    row = rivals.loc[(metric, "a", "c")]
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["high"] < 0 or row["low"] > 0


def test_methods_that_answer_no_request_are_compared_as_sets_only():
    rng = np.random.default_rng(0)
    pca = {name: rng.normal(size=(50, 3)).astype(np.float32) for name in "ab"}
    methods = {name: {("mmd2_pca", "all"): Estimate(0.0)} for name in "ab"}
    table = compare_pairs(methods, {}, pca, pca["a"], np.array([0.5, 1.0, 2.0]))
    assert list(table["metric"]) == ["mmd2_pca"]
