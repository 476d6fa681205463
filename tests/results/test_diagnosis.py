import numpy as np
import pandas as pd
import pytest
from results.charted import marks

from toycrystals.crystals.lattice import TYPES
from toycrystals.results.diagnosis import View, draw_confusion, draw_posterior, draw_theta_errors, principal_components
from toycrystals.results.style import method_label, type_colours
from toycrystals.results.vega import to_png

KAGOME = (*TYPES, "kagome")


def rows_of(spec):
    return pd.DataFrame(spec["data"]["values"])


def images(rows):
    """A table of images, [(asked, found or None for no lattice, counts as right, how many)]."""
    table = [
        {"asked_type": asked, "found_type": found or TYPES[0], "reason": "ok" if found else "blank", "right_type_merged": right}
        for asked, found, right, count in rows
        for _ in range(count)
    ]
    return pd.DataFrame(table)


MIXED = images(
    [
        ("square", "square", True, 1999),
        ("square", "triangular", False, 1),
        ("rectangular", "square", True, 6),
        ("rectangular", "triangular", False, 3),
        ("rectangular", None, False, 1),
        ("kagome", None, False, 2),
    ]
)


def test_confusion_is_per_cent_of_the_type_asked_for_with_near_squares_merged():
    spec = draw_confusion({"real": images([("square", "square", True, 3)]), "my_prior": MIXED}, KAGOME)
    rows = rows_of(spec)
    mine = rows[rows["label"] == "my_prior"].set_index(["asked", "found"])["share"]
    expected = {("square", "square"): 99.95, ("square", "triangular"): 0.05, ("kagome", "no lattice"): 100}
    expected |= {("rectangular", kind): share for kind, share in {"rectangular": 60, "triangular": 30, "no lattice": 10}.items()}
    assert mine.to_dict() == pytest.approx(expected)
    assert {mark["text"] for mark in marks(spec, "text")} == {100, 99.9, 0, 60, 30, 10}
    assert len(to_png(spec)) > 1000


def test_a_line_is_the_share_of_images_with_a_larger_error():
    types = np.repeat(np.arange(4), [4, 3, 2, 1])
    errors = np.array([0.4, 0.1, np.nan, 0.2, 2e-5, 5.0, 1.0, np.nan, np.nan, 3.0])
    spec = draw_theta_errors({"mop": errors}, types, TYPES)
    rows = rows_of(spec)
    square = rows[rows["type"] == "square"]
    np.testing.assert_allclose(square["error"], [0.001, 0.1, 0.2, 0.4, 90])
    # A quarter shows no lattice: no error is too large for that one.
    np.testing.assert_allclose(square["share"], [100, 75, 50, 25, 25])
    np.testing.assert_allclose(rows.loc[rows["type"] == "triangular", "share"], 100)
    assert set(rows["label"]) == {method_label("mop")}
    assert len(marks(spec, "line")) == len(rows)


@pytest.mark.parametrize("n", [1, 3, 400])
def test_angle_errors_of_few_images_and_of_failures_can_be_drawn(n):
    types = np.arange(n) % 3
    for errors in (np.full(n, np.nan), np.linspace(0.0, 45.0, n)):
        spec = draw_theta_errors({"my_prior": errors, "other": errors}, types, KAGOME)
        assert len(to_png(spec)) > 1000
        assert rows_of(spec)["share"].min() > 0


@pytest.fixture(scope="module")
def codes():
    """Codes [600, 5] whose variance lies along two known directions, types [600], and those directions [2, 5]."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((5, 5)))[0][:2]
    latent = rng.standard_normal((600, 2)) * [9.0, 3.0]
    return latent @ directions + 0.05 * rng.standard_normal((600, 5)) + 7.0, np.arange(600) % 4, directions


def test_principal_components_are_the_directions_of_most_variance(codes):
    points, _, directions = codes
    mean, components = principal_components(points)
    np.testing.assert_allclose(mean, points.mean(axis=0))
    np.testing.assert_allclose(np.abs(np.sum(components * directions.T, axis=0)), 1.0, atol=1e-3)
    np.testing.assert_allclose(components.T @ components, np.eye(2), atol=1e-9)
    assert (components[np.abs(components).argmax(axis=0), [0, 1]] > 0).all()


def test_samples_stand_by_type_over_the_codes_to_imitate(codes):
    points, types, _ = codes
    spec = draw_posterior([View("all", points, {"mop": points[::-1] * 0.9}, types)], TYPES)
    rows = rows_of(spec["vconcat"][0])
    mean, components = principal_components(points)
    ours = rows["kind"].isin(TYPES)
    np.testing.assert_allclose(rows.loc[~ours, ["x", "y"]], (points - mean) @ components, atol=1e-6)
    np.testing.assert_allclose(rows.loc[ours, ["x", "y"]], (points[::-1] * 0.9 - mean) @ components, atol=1e-6)
    assert list(rows.loc[ours, "kind"]) == [TYPES[k] for k in types]
    dots = marks(spec, "symbol")
    assert len(dots) == 1200
    assert {mark["fill"] for mark in dots} == {*type_colours(TYPES).values(), "#ccc"}


def test_samples_beyond_the_axes_are_counted_also_those_that_are_no_numbers(codes):
    points, types, _ = codes
    far = points.copy()
    far[:7] += 1e4
    spec = draw_posterior([View("all", points, {"a": points, "b": far, "c": points * np.nan}, types)], TYPES)
    assert list(dict.fromkeys(rows_of(spec["vconcat"][0])["panel"])) == ["a", "b, 7 of 600 outside", "c, 600 of 600 outside"]
    assert len(to_png(spec)) > 1000


def test_many_codes_are_thinned_and_those_of_one_dimension_lie_on_a_line():
    line = np.linspace(-1, 1, 5000)[:, None]
    rows = rows_of(draw_posterior([View("all", line, {"standard": line}, np.arange(5000) % 4)], TYPES)["vconcat"][0])
    assert len(rows) == 2 * 2000
    assert set(rows["kind"]) == {*TYPES, "held-out posterior"}
    np.testing.assert_allclose(rows["y"], 0.0)


def test_each_view_has_its_own_axes_and_codes(codes):
    """Few codes far from the others: their own principal components, and as many samples as were drawn for them."""
    points, types, _ = codes
    few = View("few", points[:50] + 100.0, {"mop": points[:150] + 100.0}, np.zeros(150, dtype=np.int64))
    spec = draw_posterior([View("all", points, {"mop": points}, types), few], TYPES)
    rows = rows_of(spec["vconcat"][1])
    mean, components = principal_components(few.imitated)
    ours = rows["kind"] == TYPES[0]
    np.testing.assert_allclose(rows.loc[ours, ["x", "y"]], (few.codes["mop"] - mean) @ components, atol=1e-6)
    assert [view["title"]["text"] for view in spec["vconcat"]] == ["all", "few"]
    assert len(marks(spec, "symbol")) == 1200 + 200


def test_diagnoses_are_the_same_picture_twice(codes):
    points, types, _ = codes
    for draw in (
        lambda: draw_confusion({"mop": MIXED}, TYPES),
        lambda: draw_theta_errors({"mop": np.abs(points[:, 0])}, types, TYPES),
        lambda: draw_posterior([View("all", points, {"mop": points}, types)], TYPES),
    ):
        assert to_png(draw()) == to_png(draw())
