import struct

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from toycrystals.dataset import VARIANTS, DatasetSpec, make_samples
from toycrystals.figures import (
    LABELS,
    condition_label,
    draw_curves,
    draw_metrics,
    draw_pairs,
    draw_preview,
    draw_samples,
    draw_square_grid,
    factor_label,
    image_grid,
    method_label,
    save_figure,
)
from toycrystals.lattice import TYPES
from toycrystals.priors.registry import PRIORS

METRICS = {
    "real": {"matched_psnr": 50.0, "matched_psnr_square": 60.0, "nearest_ncc": 0.998, "aspect_w1": 0.006, "mass_w1": 1e-4},
    "standard": {"matched_psnr": 20.0, "nearest_ncc": 0.6, "aspect_w1": 0.125, "mass_w1": 1e-2},
}


@pytest.fixture(scope="module")
def samples():
    return make_samples(DatasetSpec("full", 4, 16, 0), "train", 60)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def shown(figure):
    """The images of a figure, in the order of its axes."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def boxes(figure):
    return np.array([axes.get_position().extents for axes in figure.axes])


def assert_tidy(figure):
    """All axes and words lie on the figure, and no two axes overlap."""
    extents = boxes(figure)
    assert extents.min() >= 0.0
    assert extents.max() <= 1.0
    for i, (x0, y0, x1, y1) in enumerate(extents):
        others = np.delete(extents, i, axis=0)
        apart = (others[:, 0] >= x1) | (others[:, 2] <= x0) | (others[:, 1] >= y1) | (others[:, 3] <= y0)
        assert apart.all()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height, text.get_text()


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("simple", "honeycomb"),
        ("rot_only", "honeycomb 45°"),
        ("full", "honeycomb 45°\na 9.5 px\nvac 12%, jit 0.3 px"),
    ],
)
def test_a_condition_is_told_as_far_as_the_variant_shows_it(variant, expected):
    labels = np.array([9.5, np.pi / 4, 0.12, 0.3], dtype=np.float32)
    assert condition_label(3, labels, variant) == expected


@pytest.mark.parametrize(
    ("variant", "aspect", "expected"),
    [
        ("rot_only", 1.0, "θ 45°"),
        ("rot_only", 1.25, "θ 45°, b/a 1.25"),
        ("full", 1.25, "θ 45°, b/a 1.25\na 9.5 px\nvac 12%, jit 0.3 px"),
    ],
)
def test_factors_are_told_as_far_as_the_variant_lets_them_vary(variant, aspect, expected):
    factors = np.array([9.5, np.pi / 4, 0.12, 0.3, aspect], dtype=np.float32)
    assert factor_label(factors, variant) == expected


def test_every_method_has_a_label_of_its_own():
    names = ["real", "reconstruction", *PRIORS]
    assert set(names) <= set(LABELS)
    assert len({method_label(name) for name in names}) == len(names)
    assert method_label("a_new_prior") == "a_new_prior"


def test_images_share_one_grey_scale_and_are_not_smoothed(samples):
    dim = samples.images[:3] // 2
    figure = image_grid([dim], ["row"], [[]])
    for axes, image in zip(figure.axes, dim, strict=True):
        (drawn,) = axes.images
        np.testing.assert_array_equal(drawn.get_array(), image[0])
        assert drawn.get_clim() == (0, 255)
        assert drawn.get_interpolation() == "nearest"
        assert drawn.get_cmap().name == "gray"
        assert drawn.origin == "upper"
        assert not axes.axison


def test_a_grid_puts_rows_below_each_other_and_columns_side_by_side(samples):
    rows = [samples.images[:3], samples.images[3:5]]
    figure = image_grid(rows, ["upper", "lower"], [["a", "b", "c"], ["d", "e"]])
    assert_tidy(figure)
    left, bottom, _, top = boxes(figure).T
    assert len(left) == 5
    np.testing.assert_allclose(left[3:], left[:2])
    assert (np.diff(left[:3]) > 0).all()
    assert bottom[:3].min() > top[3:].max()
    np.testing.assert_array_equal(shown(figure), samples.images[:5, 0])
    width, height = figure.get_size_inches()
    np.testing.assert_allclose((boxes(figure)[:, 2] - left) * width, (top - bottom) * height)
    where = {text.get_text(): text.get_position() for text in figure.texts}
    for name, i in zip("abcde", range(5), strict=True):
        assert where[name][0] == pytest.approx((left[i] + boxes(figure)[i, 2]) / 2)
        assert top[i] < where[name][1] < top[i] + 0.1
    for name, i in (("upper", 0), ("lower", 3)):
        assert where[name][1] == pytest.approx((bottom[i] + top[i]) / 2)
        assert where[name][0] < left[i]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_preview_has_a_row_a_type_with_the_truth_above_each_image(variant):
    samples = make_samples(DatasetSpec(variant, 4, 16, 0), "train", 60)
    figure = draw_preview(samples, variant, columns=5)
    assert_tidy(figure)
    rows = [np.flatnonzero(samples.type == k)[:5] for k in range(4)]
    np.testing.assert_array_equal(shown(figure), samples.images[np.concatenate(rows), 0])
    expected = []
    for name, row in zip(TYPES, rows, strict=True):
        expected += [name, *(factor_label(samples.factors[i], variant) for i in row)]
    assert texts(figure) == expected


def test_a_preview_of_few_samples_shows_what_there_is(samples):
    few = samples[np.concatenate([np.flatnonzero(samples.type == 0)[:1], np.flatnonzero(samples.type == 2)[:3]])]
    figure = draw_preview(few, "full", columns=8)
    assert_tidy(figure)
    assert len(figure.axes) == 4
    assert [text for text in texts(figure) if text in TYPES] == ["square", "triangular"]


def test_pairs_stand_one_above_the_other_and_say_the_condition_once(samples):
    lower = samples.images[:, :, ::-1]
    figure = draw_pairs(("truth", samples.images), ("ours", lower), samples.type, samples.labels, "full", columns=4)
    assert_tidy(figure)
    assert len(figure.axes) == 4 * 2 * 4
    drawn, extents = np.array(shown(figure)).reshape(4, 2, 4, 16, 16), boxes(figure).reshape(4, 2, 4, 4)
    for k in range(4):
        rows = np.flatnonzero(samples.type == k)[:4]
        np.testing.assert_array_equal(drawn[k, 0], samples.images[rows, 0])
        np.testing.assert_array_equal(drawn[k, 1], lower[rows, 0])
    np.testing.assert_allclose(extents[:, 0, :, [0, 2]], extents[:, 1, :, [0, 2]])
    assert (extents[:, 0, :, 1] > extents[:, 1, :, 3]).all()
    captions = [text for text in texts(figure) if text not in ("truth", "ours")]
    assert captions == [
        condition_label(k, samples.labels[i], "full") for k in range(4) for i in np.flatnonzero(samples.type == k)[:4]
    ]
    assert texts(figure).count("truth") == texts(figure).count("ours") == 4


def test_samples_have_a_row_a_method_and_a_column_a_condition(samples):
    names = ("truth", *PRIORS)
    images = {name: samples.images // (i + 1) for i, name in enumerate(names)}
    figure = draw_samples(images, samples.type, samples.labels, "rot_only", per_type=2)
    assert_tidy(figure)
    chosen = np.concatenate([np.flatnonzero(samples.type == k)[:2] for k in range(4)])
    assert len(figure.axes) == len(names) * 8
    drawn = np.array(shown(figure)).reshape(len(names), 8, 16, 16)
    for row, name in zip(drawn, names, strict=True):
        np.testing.assert_array_equal(row, images[name][chosen, 0])
    labels = [method_label(name) for name in names]
    assert [text for text in texts(figure) if text in labels] == labels
    assert [text for text in texts(figure) if text not in labels] == [
        condition_label(samples.type[i], samples.labels[i], "rot_only") for i in chosen
    ]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_a_square_grid_holds_all_images_without_a_word(samples, n, columns):
    figure = draw_square_grid(samples.images[:n])
    (sheet,) = shown(figure)
    side, gap = samples.images.shape[-1], 4
    rows = -(-n // columns)
    assert sheet.shape == (rows * (side + gap) + gap, columns * (side + gap) + gap)
    for i in range(rows * columns):
        top, left = ((side + gap) * k + gap for k in divmod(i, columns))
        expected = samples.images[i, 0] if i < n else np.full((side, side), 255)
        np.testing.assert_array_equal(sheet[top : top + side, left : left + side], expected)
    assert not any(texts(figure))


def test_curves_show_every_loss_against_its_epoch():
    epochs = np.arange(1, 5)
    vae = pd.DataFrame({"epoch": epochs, "total": epochs / 10, "reconstruction": epochs / 20, "kl": epochs * 3.0})
    diffusion = pd.DataFrame({"epoch": epochs, "total": epochs / 30, "val_total": epochs / 40})
    figure = draw_curves(vae, diffusion)
    drawn = [[line.get_ydata() for line in axes.lines] for axes in figure.axes]
    expected = [[vae["total"]], [vae["reconstruction"]], [vae["kl"]], [diffusion["total"], diffusion["val_total"]]]
    assert [len(lines) for lines in drawn] == [1, 1, 1, 2]
    for lines, columns in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(lines, columns)
    assert all((line.get_xdata() == epochs).all() for axes in figure.axes for line in axes.lines)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear", "log"]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    for title, words in zip(titles, ("VAE: total", "reconstruction", "KL", "diffusion"), strict=True):
        assert words in title
    assert [text.get_text() for text in figure.axes[3].get_legend().get_texts()] == ["training", "held out"]


def test_metrics_are_marks_by_method_and_missing_ones_are_left_out():
    figure = draw_metrics(METRICS)
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["all types", "square"]
    assert len(right.get_yticklabels()) == 3
    psnr = {line.get_label(): line.get_xdata() for line in left.lines}
    np.testing.assert_array_equal(psnr["real"], [50.0, 60.0])
    np.testing.assert_array_equal(psnr["N(0, I)"], [20.0, np.nan])
    errors = {line.get_label(): line.get_xdata() for line in right.lines}
    np.testing.assert_allclose(errors["real"], [1 - 0.998, 0.006, 1e-4])
    np.testing.assert_allclose(errors["N(0, I)"], [1 - 0.6, 0.125, 1e-2])
    assert all((line.get_ydata() == range(len(line.get_xdata()))).all() for axes in (left, right) for line in axes.lines)
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    # The first metric stands at the top.
    assert left.get_ylim()[0] > left.get_ylim()[1]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["real", "N(0, I)"]


def png_chunks(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        kinds.append(content[at + 4 : at + 8])
        at += size + 12
    return set(kinds)


def drawings(samples):
    curves = pd.DataFrame({name: [1.0, 2.0] for name in ("epoch", "total", "reconstruction", "kl", "val_total")})
    return [draw_preview(samples, "full", columns=2), draw_curves(curves, curves), draw_metrics(METRICS)]


def test_a_figure_drawn_twice_has_the_same_bytes_and_no_date_or_version(samples, tmp_path):
    for one, other in zip(drawings(samples), drawings(samples), strict=True):
        save_figure(one, tmp_path / "one.png")
        save_figure(other, str(tmp_path / "other.png"))
        content = (tmp_path / "one.png").read_bytes()
        assert content == (tmp_path / "other.png").read_bytes()
        assert not png_chunks(content) & {b"tEXt", b"iTXt", b"zTXt", b"tIME"}


def test_another_picture_has_other_bytes(samples, tmp_path):
    for i in range(2):
        save_figure(draw_square_grid(samples.images[i : i + 1]), tmp_path / f"{i}.png")
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()
