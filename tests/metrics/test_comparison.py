"""Methods beside floors and beside each other: prediction intervals, z-scores, paired tests, and what is written of them."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from toycrystals.metrics.base import rows_of
from toycrystals.metrics.comparison import (
    COLUMNS,
    HEADLINE,
    PAIRED,
    compare_pairs,
    headline,
    merged,
    metrics_json,
    tidy,
    z_scores,
)
from toycrystals.metrics.intervals import Estimate, bootstrap_weights, difference, holm, mean, sign_flip_test
from toycrystals.metrics.measures import MEASURES, PRIMARY
from toycrystals.metrics.mmd import bandwidths, mmd2, mmd2_contrasts
from toycrystals.metrics.truth import mean_psnr


def floor_of(mean=1.0, sd=0.1, n=20, metrics=MEASURES):
    """Real images in so many draws, with exactly that deviation and no two alike."""
    steps = np.linspace(-1.0, 1.0, n)
    values = mean + sd * steps / np.std(steps, ddof=1)
    # Each metric has them in another order, for the same numbers would be the same test.
    turned = {name: np.roll(values, i) for i, name in enumerate(metrics)}
    draws = [{(name, "all"): Estimate(of[k]) for name, of in turned.items()} for k in range(n)]
    return pd.concat(rows_of("real", draw).assign(draw=k) for k, draw in enumerate(draws))


def thrice(measures):
    return [measures] * 3


def judged(metric, *values, **floor):
    """The row of a method that was drawn with these values."""
    return tidy("x", [{(metric, "all"): Estimate(value)} for value in values], floor_of(**floor)).iloc[0]


def test_primary_and_headline_numbers_are_measures():
    assert set(PRIMARY) <= set(HEADLINE.values()) <= set(MEASURES)


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("mmd2_pca", 1.1, True),
        ("mmd2_pca", 1.4, False),
        ("mmd2_pca", -5.0, True),
        ("valid", 0.9, True),
        ("valid", 0.6, False),
        ("valid", 50.0, True),
        ("matched_psnr", 0.6, False),
        ("matched_psnr", 1.4, False),
        ("auc_pca", 1.1, True),
        ("auc_pca", 1.4, False),
        ("auc_pca", 0.9, True),
        ("auc_pca", 0.6, False),
        # Fewer copies than among real images lie far from the data.
        ("copy_image", 0.6, False),
        ("copy_code", 0.6, False),
        ("copy_code", 1.4, False),
        ("mmd2_pca", math.nan, False),
    ],
)
def test_at_floor_is_no_worse_than_real_images_on_the_worse_side(metric, value, expected):
    assert (judged(metric, value, value, value)["verdict"] == "at floor") is expected


def test_p_is_that_of_the_exact_permutation_test_of_all_draws():
    """Beyond every real draw, all three times: one way of 1,771, and on either side where near is better, as far as it goes."""
    assert judged("mmd2_pca", 2.0, 2.1, 2.2)["p"] == pytest.approx(1 / 1771)
    assert judged("mmd2_pca", 0.0, 0.1, 0.2)["p"] == 1.0
    assert judged("auc_pca", 0.0, 0.1, 0.2)["p"] == pytest.approx(1 / 1771)
    # Luck of one draw is no finding: the two others say otherwise.
    assert judged("mmd2_pca", 1.25, 0.9, 0.95)["p"] > 0.05


def test_p_is_corrected_for_the_number_of_the_methods_tests():
    names = [name for name, measure in MEASURES.items() if measure.better == "lower"]
    values = {(name, "all"): Estimate(0.9) for name in names} | {(names[0], "all"): Estimate(2.0)}
    table = tidy("x", thrice(values), floor_of(metrics=names)).set_index("metric")
    assert table.loc[names[0], "p_holm"] == pytest.approx(len(names) / 1771)
    assert (table.drop(index=names[0])["verdict"] == "at floor").all()
    assert table.loc[names[0], "verdict"] == ""


def test_a_value_is_the_mean_of_the_draws_of_what_all_of_them_have():
    draws = [{("mmd2_pca", "all"): Estimate(v), ("aspect_w1", "all"): Estimate(1.0)} for v in (1.0, 2.0, 6.0)]
    del draws[1]["aspect_w1", "all"]
    found = merged(draws)
    assert found["mmd2_pca", "all"].value == 3.0
    # What was not measured in all of them has no value.
    assert math.isnan(found["aspect_w1", "all"].value)
    table = tidy("x", draws, floor_of()).set_index("metric")
    assert table["p"].notna().to_dict() == {"mmd2_pca": True, "aspect_w1": False}


def test_what_never_differs_and_what_is_the_same_again_is_no_test_of_its_own():
    floor = pd.concat([floor_of(metrics=["mmd2_pca"]), floor_of(sd=0.0, metrics=["valid"])])
    floor = pd.concat([floor, floor[floor["metric"] == "mmd2_pca"].assign(metric="frechet_pca")])
    values = {("mmd2_pca", "all"): Estimate(2.0), ("frechet_pca", "all"): Estimate(2.0), ("valid", "all"): Estimate(1.0)}
    table = tidy("x", thrice(values), floor).set_index("metric")
    assert table["p_holm"].to_dict() == pytest.approx({"mmd2_pca": 1 / 1771, "frechet_pca": 1 / 1771, "valid": 1.0})


def test_where_even_the_least_p_is_told_by_no_test_there_are_too_few_draws():
    values = {(name, "all"): Estimate(9.0) for name, measure in MEASURES.items() if measure.better == "lower"}
    assert set(tidy("x", thrice(values), floor_of(n=4))["verdict"]) == {"too few draws"}
    assert set(tidy("x", thrice(values), floor_of(n=20))["verdict"]) == {""}


@pytest.mark.parametrize("draws", [1, 3])
def test_the_worst_of_real_images_is_that_of_as_many_draws(draws):
    real = floor_of()
    values = real.loc[real["metric"] == "mmd2_pca", "value"].to_numpy()
    means = np.sort([np.mean(few) for few in itertools.combinations(values, draws)])
    found = tidy("x", draws * [{("mmd2_pca", "all"): Estimate(1.0)}], real)["q95"].item()
    assert np.mean(means > found + 1e-9) <= 0.05 <= np.mean(means >= found - 1e-9) + 1e-9


def test_what_has_no_value_in_some_draw_of_real_images_has_no_floor():
    floor = floor_of(metrics=["mmd2_pca", "aspect_w1"])
    floor.loc[(floor["metric"] == "aspect_w1") & (floor["draw"] == 3), "value"] = math.nan
    measures = {("mmd2_pca", "all"): Estimate(1.0), ("aspect_w1", "all"): Estimate(1.0), ("rate", "all"): Estimate(3.0)}
    table = tidy("x", thrice(measures), floor).set_index("metric")
    assert table["p"].notna().to_dict() == {"mmd2_pca": True, "aspect_w1": False, "rate": False}
    assert table.loc["aspect_w1", ["floor", "sd", "q95"]].isna().all()


def test_table_says_floor_for_errors_and_ceiling_for_the_rest():
    measures = {("mmd2_pca", "all"): Estimate(1.0, 0.9, 1.1), ("valid", "all"): Estimate(0.5), ("auc_pca", "all"): Estimate(0.5)}
    floor = floor_of()
    table = tidy("x", thrice(measures), floor)
    assert list(table.columns) == COLUMNS
    error, quality, near = (row for _, row in table.iterrows())
    assert (error["floor"], error["sd"], error["verdict"]) == (pytest.approx(1.0), pytest.approx(0.1), "at floor")
    assert error["floor"] < error["q95"] < 1.2
    assert math.isnan(error["ceiling"])
    assert (quality["ceiling"], quality["verdict"]) == (pytest.approx(1.0), "")
    assert 0.8 < quality["q95"] < quality["ceiling"]
    assert math.isnan(quality["floor"])
    # On the side of the value.
    assert near["q95"] < near["floor"] == pytest.approx(1.0)


def test_a_method_without_any_lattice_says_so_in_every_row():
    table = tidy("x", thrice({("valid", "all"): Estimate(0.0), ("mmd2_pca", "all"): Estimate(1.0)}), floor_of())
    assert set(table["verdict"]) == {"no valid image"}


def test_without_a_floor_nothing_is_judged():
    table = tidy("x", thrice({("mmd2_pca", "all"): Estimate(1.0)}), floor_of()[:0])
    assert list(table.columns) == COLUMNS
    assert table[["floor", "sd", "q95", "p", "p_holm"]].isna().all(axis=None)
    assert list(table["verdict"]) == [""]


def scores(values, floor, name="x"):
    return z_scores(tidy(name, thrice({(metric, "all"): Estimate(value) for metric, value in values.items()}), floor))


def test_z_is_positive_where_worse_and_finite_where_real_images_never_differ():
    floor = pd.concat([floor_of(metrics=["mmd2_pca", "valid"]), floor_of(sd=0.0, metrics=["type_accuracy_merged"])])
    z = scores({"mmd2_pca": 2.0, "valid": 2.0, "type_accuracy_merged": 0.5}, floor)
    assert z.loc["x", "mmd2_pca"] == pytest.approx(10.0)
    assert z.loc["x", "valid"] == pytest.approx(-10.0)
    assert z.loc["x", "type_accuracy_merged"] == pytest.approx(500.0)


@pytest.mark.parametrize("value", [0.7, 1.3])
def test_z_of_an_area_is_how_far_it_is_on_either_side(value):
    assert scores({"auc_pca": value}, floor_of()).loc["x", "auc_pca"] == pytest.approx(3.0)


def test_rounding_does_not_lift_a_value_from_a_floor_that_never_varies():
    assert judged("type_accuracy_merged", *3 * [1.0 - 1e-12], sd=0.0)["verdict"] == "at floor"
    assert judged("type_accuracy_merged", *3 * [1.0 - 1e-6], sd=0.0)["verdict"] == ""


def test_draws_that_never_differ_have_no_deviation():
    """Not one of rounding: 0.1 is no binary number."""
    assert judged("mmd2_pca", 0.1, mean=0.1, sd=0.0)["sd"] == 0.0


def test_z_scores_have_the_methods_in_their_order_and_the_measures_in_theirs():
    """Of measures only those that have a floor."""
    values = {"zebra": {"mmd2_pca": 2.0, "valid": 0.5}, "ant": {"auc_pca": 0.5, "rate": 1.0}, "real": {"mmd2_pca": 1.2}}
    floor = floor_of(metrics=["mmd2_pca", "auc_pca", "valid"])
    tables = [tidy(name, [{(metric, "all"): Estimate(v) for metric, v in of.items()}], floor) for name, of in values.items()]
    z = z_scores(pd.concat(tables))
    assert list(z.index) == ["zebra", "ant", "real"]
    assert list(z.columns) == [name for name in MEASURES if name in ("mmd2_pca", "valid", "auc_pca")]
    assert z.loc["zebra"].dropna().to_dict() == pytest.approx({"mmd2_pca": 10.0, "valid": 5.0})
    assert z.loc["ant"].dropna().to_dict() == pytest.approx({"auc_pca": 5.0})
    assert z.loc["real", "mmd2_pca"] == pytest.approx(2.0)


def test_json_has_a_number_or_nothing():
    measures = {
        ("matched_psnr", "all"): Estimate(1.0),
        ("matched_psnr", "square"): Estimate(2.0),
        ("theta_error_median", "square"): Estimate(3.0),
        ("aspect_w1", "all"): Estimate(math.nan),
    }
    assert metrics_json(tidy("x", thrice(measures), floor_of())) == {"x": {"matched_psnr": 1.0, "matched_psnr_square": 2.0}}


@pytest.fixture(scope="module")
def rivals():
    """Three methods on 200 conditions: a and b alike, c worse in all three metrics; `real` has no density."""
    rng = np.random.default_rng(3)
    n = 200
    real = rng.normal(size=(n, 6)).astype(np.float32)
    weights, widths = bootstrap_weights(np.zeros(n, dtype=np.int64), 200), bandwidths(real)
    shifts = {"a": 0, "b": 0, "c": 0.7, "real": 0}
    pca = {name: [(rng.normal(size=(n, 6)) + shift).astype(np.float32) for _ in range(2)] for name, shift in shifts.items()}
    mse = {name: rng.gamma(4.0, 2.0 if name == "c" else 1.0, n) for name in pca}
    surprise = {name: rng.normal(2.5 if name == "c" else 1.0, 1.0, 50) for name in "abc"}
    methods = {
        name: {
            ("matched_psnr", "all"): mean_psnr(mse[name], weights),
            ("mmd2_pca", "all"): Estimate(np.mean([mmd2(real, x, widths) for x in pca[name]])),
        }
        | ({("rate", "all"): mean(surprise[name], weights[:, :50])} if name in surprise else {})
        for name in pca
    }
    return compare_pairs(methods, {"matched_psnr": mse, "rate": surprise}, pca, real, widths).set_index(["metric", "a", "b"])


def test_headline_has_primary_metrics_of_all_and_the_others_of_some():
    measures = {
        ("matched_psnr", "all"): Estimate(47.06789),
        ("matched_psnr", "square"): Estimate(1.0),
        ("mmd2_pca", "all"): Estimate(1.48223e-05),
        ("nearest_ncc", "all"): Estimate(0.0123456),
        ("copy_code", "all"): Estimate(math.nan),
    }
    table = pd.concat([tidy(name, thrice(measures), floor_of()) for name in "ab"], ignore_index=True)
    result = headline(metrics_json(table), ["b"])
    assert list(result) == list(HEADLINE)
    assert result["psnr"] == {"a": 47.07, "b": 47.07}
    assert result["mmd2"] == {"a": 1.482e-05, "b": 1.482e-05}
    assert result["ncc"] == {"b": 0.01235}
    assert result["copied"] == result["auc"] == {}


def test_every_pair_is_tested_on_all_that_both_have(rivals):
    of = {"matched_psnr": ["a", "b", "c", "real"], "mmd2_pca": ["a", "b", "c", "real"], "rate": ["a", "b", "c"]}
    assert list(rivals.index) == [(m, *pair) for m in PAIRED for pair in itertools.combinations(of[m], 2)]
    np.testing.assert_allclose(rivals["p_holm"], holm(rivals["p"].to_numpy()))


@pytest.mark.parametrize("metric", PAIRED)
def test_a_worse_method_is_told_from_a_better_one_and_equal_ones_are_not(rivals, metric):
    assert rivals.loc[(metric, "a", "b"), "p"] > 0.05
    assert rivals.loc[(metric, "a", "c"), "p_holm"] < 0.005
    row = rivals.loc[(metric, "a", "c")]
    assert (row["difference"] > 0) == (metric == "matched_psnr")
    if metric == "mmd2_pca":
        assert row[["low", "high"]].isna().all()
    else:
        assert row["low"] <= row["difference"] <= row["high"]
        assert (row["low"] > 0) if metric == "matched_psnr" else (row["high"] < 0)


def test_intervals_are_of_the_bootstrap_and_that_of_mmd_of_the_permutation_test():
    rng, n = np.random.default_rng(1), 60
    real, weights = rng.normal(size=(n, 3)).astype(np.float32), bootstrap_weights(np.zeros(n, dtype=np.int64), 200)
    pca = {name: [rng.normal(size=(n, 3)).astype(np.float32) for _ in range(3)] for name in "ab"}
    mse, widths = {name: rng.gamma(4.0, 1.0, n) for name in "ab"}, bandwidths(real)
    methods = {name: {("matched_psnr", "all"): mean_psnr(mse[name], weights)} for name in "ab"}
    table = compare_pairs(methods, {"matched_psnr": mse}, pca, real, widths).set_index("metric")
    gap = np.mean([mmd2(real, a, widths) - mmd2(real, b, widths) for a, b in zip(*pca.values(), strict=True)])
    parts = [mmd2_contrasts({"a": a, "b": b}, real, widths)["a", "b"] for a, b in zip(*pca.values(), strict=True)]
    p, reach = sign_flip_test(np.mean(parts, axis=0))
    np.testing.assert_allclose(
        table.loc["mmd2_pca", ["difference", "low", "high"]].to_list(), [gap, gap - reach, gap + reach], 1e-4
    )
    assert table.loc["mmd2_pca", "p"] == p
    expected = difference(*(methods[name]["matched_psnr", "all"] for name in "ab"))
    np.testing.assert_allclose(table.loc["matched_psnr", ["difference", "low", "high"]].to_list(), expected[:3])
    assert table.loc["matched_psnr", "p"] == sign_flip_test(mse["a"] - mse["b"])[0]


def test_intervals_of_mmd_leave_out_zero_where_its_p_is_small(rivals):
    for _, row in rivals.loc["mmd2_pca"].iterrows():
        if row["p_holm"] >= 0.05:
            assert (row["low"] > 0 or row["high"] < 0) == (row["p"] < 0.05)


def test_methods_that_answer_no_request_are_compared_as_sets_only():
    rng = np.random.default_rng(0)
    pca = {name: [rng.normal(size=(50, 3)).astype(np.float32)] for name in "ab"}
    methods = {name: {("mmd2_pca", "all"): Estimate(0.0)} for name in "ab"}
    table = compare_pairs(methods, {"matched_psnr": {}, "rate": {}}, pca, pca["a"][0], np.array([0.5, 1.0, 2.0]))
    assert list(table["metric"]) == ["mmd2_pca"]
