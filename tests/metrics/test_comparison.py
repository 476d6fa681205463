"""Methods beside floors and beside each other: prediction intervals, z-scores, paired tests, and what is written of them."""

import math

import numpy as np
import pandas as pd
import pytest

from toycrystals.metrics.base import rows_of
from toycrystals.metrics.comparison import (
    COLUMNS,
    HEADLINE,
    compare_pairs,
    floors,
    headline,
    metrics_json,
    tidy,
    z_scores,
)
from toycrystals.metrics.intervals import Estimate, bootstrap_weights, mean
from toycrystals.metrics.measures import MEASURES, PRIMARY
from toycrystals.metrics.mmd import bandwidths, mmd2


def floor_of(mean=1.0, sd=0.1, n=20, metrics=MEASURES):
    """The floor of 20 draws: one more lies within 0.177 of the mean on one side, or within 0.214 on both."""
    values = mean + sd * math.sqrt((n - 1) / n) * np.resize([-1.0, 1.0], n)
    return floors(pd.concat(rows_of(str(k), {(name, "all"): Estimate(v) for name in metrics}) for k, v in enumerate(values)))


def verdict(metric, value, **floor):
    return tidy(rows_of("x", {(metric, "all"): Estimate(value)}), floor_of(**floor))["verdict"].item()


def test_primary_and_headline_numbers_are_measures():
    assert set(PRIMARY) <= set(HEADLINE.values()) <= set(MEASURES)


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("mmd2_pca", 1.17, True),
        ("mmd2_pca", 1.18, False),
        ("mmd2_pca", -5.0, True),
        ("matched_psnr", 0.83, True),
        ("matched_psnr", 0.82, False),
        ("matched_psnr", 50.0, True),
        ("auc_pca", 1.21, True),
        ("auc_pca", 1.22, False),
        ("auc_pca", 0.79, True),
        ("auc_pca", 0.78, False),
        ("mmd2_pca", math.nan, False),
    ],
)
def test_at_floor_is_no_worse_than_real_images_on_the_worse_side(metric, value, expected):
    assert (verdict(metric, value) == "at floor") is expected


def test_floors_summarise_draws_and_skip_what_has_no_value():
    measured = [{("mmd2_pca", "all"): Estimate(float(d)), ("aspect_w1", "all"): Estimate(math.nan)} for d in range(21)]
    result = floors(pd.concat(rows_of(str(d), measures) for d, measures in enumerate(measured)))
    assert list(result.index) == [("mmd2_pca", "all")]
    floor = result.iloc[0]
    assert (floor["mean"], floor["sd"], floor["n"]) == pytest.approx((10.0, np.std(np.arange(21), ddof=1), 21))


@pytest.mark.parametrize("metric", ["mmd2_pca", "matched_psnr", "auc_pca"])
def test_one_more_draw_is_at_the_floor_as_often_as_said(metric):
    rng, n = np.random.default_rng(0), 4000
    draws = pd.DataFrame({"metric": metric, "type": np.tile(np.arange(n), 20), "value": rng.normal(3.0, 2.0, 20 * n)})
    floor = floors(draws)
    one_more = rng.normal(3.0, 2.0, n)
    assert np.mean((floor["least"] <= one_more) & (one_more <= floor["most"])) == pytest.approx(0.95, abs=0.015)


def test_table_says_floor_for_errors_and_ceiling_for_the_rest():
    measures = {
        ("mmd2_pca", "all"): Estimate(1.0, 0.9, 1.1),
        ("matched_psnr", "all"): Estimate(0.5),
        ("rate", "all"): Estimate(3.0),
    }
    table = tidy(rows_of("x", measures), floor_of(metrics=["mmd2_pca", "matched_psnr"]))
    assert list(table.columns) == COLUMNS
    error, quality, other = (row for _, row in table.iterrows())
    assert (error["floor"], error["q95"], error["verdict"]) == (1.0, pytest.approx(1.177, abs=1e-3), "at floor")
    assert math.isnan(error["ceiling"])
    assert (quality["ceiling"], quality["q95"], quality["verdict"]) == (1.0, pytest.approx(0.823, abs=1e-3), "")
    assert math.isnan(quality["floor"])
    assert math.isnan(other["floor"])
    assert math.isnan(other["sd"])


def test_a_method_without_any_lattice_says_so_in_every_row():
    table = tidy(rows_of("x", {("valid", "all"): Estimate(0.0), ("mmd2_pca", "all"): Estimate(1.0)}), floor_of())
    assert set(table["verdict"]) == {"no valid image"}


def test_z_is_positive_where_worse_and_finite_where_real_images_never_differ():
    floor = pd.concat([floor_of(metrics=["mmd2_pca", "matched_psnr"]), floor_of(sd=0.0, metrics=["type_accuracy_merged"])])
    values = {"mmd2_pca": 2.0, "matched_psnr": 2.0, "type_accuracy_merged": 0.5}
    z = z_scores(tidy(rows_of("x", {(name, "all"): Estimate(value) for name, value in values.items()}), floor))
    assert z.loc["x", "mmd2_pca"] == pytest.approx(10.0)
    assert z.loc["x", "matched_psnr"] == pytest.approx(-10.0)
    assert z.loc["x", "type_accuracy_merged"] == pytest.approx(500.0)


@pytest.mark.parametrize("value", [0.7, 1.3])
def test_z_of_an_area_is_how_far_it_is_on_either_side(value):
    z = z_scores(tidy(rows_of("x", {("auc_pca", "all"): Estimate(value)}), floor_of()))
    assert z.loc["x", "auc_pca"] == pytest.approx(3.0)


def test_rounding_does_not_lift_a_value_from_a_floor_that_never_varies():
    assert verdict("type_accuracy_merged", 1.0 - 1e-12, sd=0.0) == "at floor"
    assert verdict("type_accuracy_merged", 1.0 - 1e-6, sd=0.0) == ""


def test_draws_that_never_differ_have_no_deviation():
    """Not one of rounding: 0.1 is no binary number."""
    assert (floor_of(mean=0.1, sd=0.0)["sd"] == 0.0).all()


def test_z_scores_have_the_methods_in_their_order_and_the_measures_in_theirs():
    """Of measures only those that have a floor."""
    values = {"zebra": {"mmd2_pca": 2.0, "matched_psnr": 0.5}, "ant": {"auc_pca": 0.5, "rate": 1.0}, "real": {"mmd2_pca": 1.2}}
    rows = [rows_of(name, {(metric, "all"): Estimate(v) for metric, v in of.items()}) for name, of in values.items()]
    z = z_scores(tidy(pd.concat(rows), floor_of(metrics=["mmd2_pca", "auc_pca", "matched_psnr"])))
    assert list(z.index) == ["zebra", "ant", "real"]
    assert list(z.columns) == [name for name in MEASURES if name in ("mmd2_pca", "matched_psnr", "auc_pca")]
    assert z.loc["zebra"].dropna().to_dict() == pytest.approx({"mmd2_pca": 10.0, "matched_psnr": 5.0})
    assert z.loc["ant"].dropna().to_dict() == pytest.approx({"auc_pca": 5.0})
    assert z.loc["real", "mmd2_pca"] == pytest.approx(2.0)


def test_json_has_a_number_or_nothing():
    measures = {
        ("matched_psnr", "all"): Estimate(1.0),
        ("matched_psnr", "square"): Estimate(2.0),
        ("theta_error_median", "square"): Estimate(3.0),
        ("aspect_w1", "all"): Estimate(math.nan),
    }
    assert metrics_json(tidy(rows_of("x", measures), floor_of())) == {"x": {"matched_psnr": 1.0, "matched_psnr_square": 2.0}}


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
    table = tidy(pd.concat(rows_of(name, measures) for name in "ab"), floor_of())
    result = headline(metrics_json(table), ["b"])
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
