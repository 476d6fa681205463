import numpy as np
import pytest
from drawing import assert_same_bytes, assert_tidy, words

from toycrystals.figures.diagnosis import (
    draw_confusion,
    draw_posterior,
    draw_theta_errors,
    percent_text,
    principal_components,
)
from toycrystals.figures.style import method_label, type_colours
from toycrystals.lattice import TYPES

COUNTS = np.array([[998, 0, 2, 0, 0], [0, 600, 300, 0, 100], [0, 0, 1, 0, 2000], [0, 0, 0, 0, 0]])


def cells(axes):
    return {text.get_position()[::-1]: text.get_text() for text in axes.texts if text.get_text()}


def test_confusion_is_per_cent_of_the_requested_type_without_zeros():
    figure = draw_confusion({"real": np.eye(4, 5, dtype=np.int64), "my_prior": COUNTS}, TYPES)
    assert_tidy(figure)
    perfect, mine = figure.axes
    assert cells(perfect) == {(k, k): "100" for k in range(4)}
    expected = {(0, 0): "99.8", (0, 2): "0.2", (1, 1): "60", (1, 2): "30", (1, 4): "10", (2, 2): "<0.1", (2, 4): ">99.9"}
    assert cells(mine) == expected
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["real", "my_prior"]
    assert [label.get_text() for label in mine.get_xticklabels()] == [*TYPES, "no lattice"]
    assert [label.get_text() for label in perfect.get_yticklabels()] == list(TYPES)
    (one,), (other,) = perfect.images, mine.images
    assert one.get_clim() == other.get_clim() == (0, 10)
    np.testing.assert_allclose(other.get_array()[1] ** 2, [0, 60, 30, 0, 10])


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_any_number_of_methods_has_a_matrix_each(n):
    figure = draw_confusion({f"prior {i}": COUNTS for i in range(n)}, TYPES)
    assert_tidy(figure)
    assert len(figure.axes) == n


def test_confusion_of_methods_that_all_fail_is_one_column():
    lost = np.zeros((4, 5), dtype=np.int64)
    lost[:, 4] = 3
    figure = draw_confusion({"mop": lost, "diffusion": np.zeros_like(lost)}, TYPES)
    assert_tidy(figure)
    assert cells(figure.axes[0]) == {(k, 4): "100" for k in range(4)}
    assert cells(figure.axes[1]) == {}


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "<0.1"), (0.1, "0.1"), (4.04, "4"), (99.9, "99.9"), (99.95, ">99.9"), (100.0, "100")]
)
def test_shares_are_short_and_never_claim_all(value, text):
    assert percent_text(value) == text


def curve(axes, colour_of):
    """The line of a method and its median's dot (None without one)."""
    lines = [line for line in axes.lines if line.get_color() == colour_of and len(line.get_xdata()) > 2]
    dots = [line for line in axes.lines if line.get_color() == colour_of and line.get_marker() == "o"]
    return lines[0], (dots[0].get_xdata()[0] if dots else None)


def test_a_line_is_the_share_of_images_with_a_larger_error():
    types = np.repeat(np.arange(4), [4, 3, 2, 1])
    errors = np.array([0.4, 0.1, np.nan, 0.2, 2e-5, 5.0, 1.0, np.nan, np.nan, 3.0])
    figure = draw_theta_errors({"real": errors, "my_prior": errors * 2}, types, TYPES)
    assert_tidy(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(TYPES)
    (legend,) = figure.legends
    colours = {text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)}
    line, median = curve(figure.axes[0], colours["real"])
    np.testing.assert_allclose(line.get_xdata(), [0.001, 0.1, 0.2, 0.4, 90])
    # A quarter shows no lattice: no error is too large for that one.
    np.testing.assert_allclose(line.get_ydata(), [1, 0.75, 0.5, 0.25, 0.25])
    assert line.get_drawstyle() == "steps-post"
    assert median == 0.2
    line, median = curve(figure.axes[1], colours["my_prior"])
    np.testing.assert_allclose(line.get_xdata(), [0.001, 0.001, 2.0, 10.0, 90])
    np.testing.assert_allclose(line.get_ydata(), [1, 2 / 3, 1 / 3, 0, 0], atol=1e-12)
    assert median == 2.0
    # Two images, none with a lattice: a line at all of them, and no median.
    lost = [line for line in figure.axes[2].lines if line.get_color() in colours.values()]
    assert [list(line.get_ydata()) for line in lost] == [[1.0, 1.0]] * 2
    assert all((axes.get_xscale(), axes.get_yscale()) == ("log", "log") for axes in figure.axes)
    assert all(axes.get_xlim() == (0.001, 90.0) for axes in figure.axes)


@pytest.mark.parametrize("n", [1, 3, 400])
def test_angle_errors_of_few_images_and_of_failures_can_be_drawn(n):
    types = np.arange(n) % 3
    for errors in (np.full(n, np.nan), np.linspace(0.0, 45.0, n)):
        figure = draw_theta_errors({"my_prior": errors}, types, TYPES)
        assert_tidy(figure)
        assert words(figure).count("no image") == 4 - min(n, 3)
        assert "my_prior" in words(figure)
        for axes in figure.axes:
            bottom, top = axes.get_ylim()
            assert bottom < 1 / -(-n // 3)
            assert top > 1.0


def test_ten_methods_share_a_legend():
    errors = {f"prior {i}": np.linspace(0.001, 1.0 + i, 40) for i in range(10)}
    figure = draw_theta_errors(errors, np.arange(40) % 4, TYPES)
    assert_tidy(figure)
    (legend,) = figure.legends
    assert len({line.get_color() for line in legend.get_lines()}) == 10


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


def test_samples_stand_over_the_codes_to_imitate_on_shared_axes(codes):
    points, types, _ = codes
    samples = points[::-1] * 0.9
    figure = draw_posterior({"mop": (points, samples), "my_prior": (points, points)}, types, TYPES)
    assert_tidy(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [method_label("mop"), "my_prior"]
    mean, components = principal_components(np.concatenate([points, points]))
    for axes, drawn in zip(figure.axes, (samples, points), strict=True):
        grey, coloured = axes.collections
        np.testing.assert_allclose(grey.get_offsets(), (points - mean) @ components)
        np.testing.assert_allclose(coloured.get_offsets(), (drawn - mean) @ components)
        assert grey.get_rasterized()
        assert coloured.get_rasterized()
        assert len({tuple(colour) for colour in coloured.get_facecolors()}) == 4
    (one, other) = figure.axes
    assert (one.get_xlim(), one.get_ylim()) == (other.get_xlim(), other.get_ylim())
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*TYPES, "held-out posterior"]
    assert [line.get_color() for line in legend.get_lines()][:4] == [type_colours(TYPES)[name] for name in TYPES]


@pytest.mark.parametrize(("n", "drawn"), [(3, 3), (2000, 2000), (4096, 1366), (8000, 1600)])
def test_points_are_thinned_by_a_stride_that_keeps_every_type(n, drawn):
    points = np.random.default_rng(1).standard_normal((n, 3))
    figure = draw_posterior({"standard": (points, points)}, np.arange(n) % 4, TYPES)
    for collection in figure.axes[0].collections:
        assert len(collection.get_offsets()) == drawn
    colours = figure.axes[0].collections[1].get_facecolors()
    assert len({tuple(colour) for colour in colours}) == min(n, 4)


def test_samples_beyond_the_axes_are_counted_also_those_that_are_no_numbers(codes):
    points, types, _ = codes
    far = points.copy()
    far[:7] += 1e4
    figure = draw_posterior({"a": (points, points), "b": (points, far), "c": (points, points * np.nan)}, types, TYPES)
    assert_tidy(figure)
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        [],
        ["7 of 600 outside"],
        ["600 of 600 outside"],
    ]


def test_codes_of_one_dimension_are_drawn_on_a_line():
    line = np.linspace(-1, 1, 12)[:, None]
    figure = draw_posterior({"standard": (line, line)}, np.arange(12) % 4, TYPES)
    assert_tidy(figure)
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets()[:, 1], 0.0)


def test_diagnoses_have_the_same_bytes_twice(codes, tmp_path):
    points, types, _ = codes
    assert_same_bytes(lambda: draw_confusion({"mop": COUNTS}, TYPES), tmp_path)
    assert_same_bytes(lambda: draw_theta_errors({"mop": np.abs(points[:, 0])}, types, TYPES), tmp_path)
    assert_same_bytes(lambda: draw_posterior({"mop": (points, points)}, types, TYPES), tmp_path)


def test_without_methods_there_is_nothing_to_see_and_no_error():
    assert_tidy(draw_theta_errors({}, np.arange(4), TYPES))
    assert not draw_confusion({}, TYPES).axes
