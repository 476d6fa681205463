"""Numbers: digits that the interval supports, and one scale a metric."""

import math

import pandas as pd
import pytest

from toycrystals.report.formats import form_of, levels, listed, p_value

NAN = math.nan


def rows(*estimates):
    return pd.DataFrame(estimates, columns=["value", "low", "high"])


@pytest.mark.parametrize(
    ("metric", "estimates", "unit", "text"),
    [
        ("matched_psnr", [(47.0667, 46.9827, 47.1421)], ", dB", "47.07\u00a0dB [46.98,\u00a047.14]"),
        ("mmd2_pca", [(-7.4e-7, -1.8e-5, 2.0e-5)], ", 10⁻⁶", "−1\u00a0×\u00a010⁻⁶ [−18,\u00a020]"),
        ("mmd2_pca", [(0.005, -3.0, 3.0)], ", 10⁻³", "5\u00a0×\u00a010⁻³ [−3,000,\u00a03,000]"),
        ("mmd2_pca", [(0.0359, 0.0336, 0.0380)], "", "0.0359 [0.0336,\u00a00.0380]"),
        ("copy_code", [(0.132, 0.122, 0.143)], ", %", "13.2\u00a0% [12.2,\u00a014.3]"),
        ("theta_error_median", [(0.0043, 0.0042, 0.0045)], ", °", "0.00430° [0.00420,\u00a00.00450]"),
        ("rate", [(6.35413, NAN, NAN)], ", nats", "6.35\u00a0nats"),
        ("active_units", [(7, NAN, NAN)], "", "7"),
        ("matched_psnr", [(NAN, NAN, NAN)], ", dB", "–"),
        ("unheard_of", [(1.5, 1.4, 1.6)], "", "1.50 [1.40,\u00a01.60]"),
        ("valid", [(1.0, 1.0, 1.0)], ", %", "100\u00a0% [100,\u00a0100]"),
    ],
)
def test_estimates_read_as_they_should(metric, estimates, unit, text):
    form = form_of(metric, rows(*estimates))
    assert form.heading == form.label + unit
    assert form.estimate(*estimates[0]) == text


def test_what_rounds_to_nothing_has_no_sign():
    assert form_of("aspect_w1", rows((5.0, 4.0, 6.0))).number(-0.001) == "0.0"


def test_lists_and_p_values():
    assert [listed("a"), listed("ab"), listed("abc"), listed("")] == ["a", "a and b", "a, b and c", ""]
    assert [p_value(9.999e-05), p_value(0.0143986), p_value(0.8216), p_value(NAN)] == ["0.0001", "0.014", "0.82", "–"]


def test_without_intervals_the_spread_of_real_images_tells_the_digits():
    table = rows((-7.4e-7, NAN, NAN), (3.8e-3, NAN, NAN), (1e-9, NAN, NAN))
    assert form_of("mmd2_pca", table.assign(sd=3.5e-6)).estimate(3.8e-3) == "3,800\u00a0×\u00a010⁻⁶"
    assert form_of("mmd2_pca", table).estimate(3.8e-3) == "3,800,000\u00a0×\u00a010⁻⁹"
    known = rows((50.0, 49.0, 51.0), (60.0, NAN, NAN)).assign(sd=1e-6)
    assert form_of("matched_psnr", known).decimals == 1


def test_real_images_have_a_mean_and_a_level_a_side_on_which_there_are_values():
    table = pd.DataFrame({"floor": [2.0, 2.0, 2.0, NAN], "ceiling": [NAN] * 4, "q95": [3.0, 1.0, 3.0, NAN]})
    assert levels(table) == (2.0, [1.0, 3.0])
    assert levels(table.iloc[:1].rename(columns={"floor": "ceiling", "ceiling": "floor"})) == (2.0, [3.0])
    mean, worst = levels(table.iloc[3:])
    assert math.isnan(mean)
    assert worst == []
