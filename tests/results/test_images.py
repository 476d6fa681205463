import numpy as np
import pytest
from PIL import Image
from results.drawing import assert_same_bytes, assert_tidy, boxes, texts

from toycrystals.crystals.dataset import DatasetSpec, make_samples
from toycrystals.crystals.lattice import TYPES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.results.images import (
    condition_label,
    draw_pairs,
    draw_preview,
    draw_samples,
    draw_worst,
    factor_label,
    image_grid,
    save_sheet,
    worst_caption,
)
from toycrystals.results.style import method_label


@pytest.fixture(scope="module")
def samples():
    return make_samples(DatasetSpec("full", 4, 16, 0), "train", 60)


def shown(figure):
    """The images of a figure, of 16 pixels a side, of which each is drawn as a square of several."""
    drawn = [np.asarray(image.get_array()) for image in figure.images]
    for array in drawn:
        scale = len(array) // 16
        np.testing.assert_array_equal(array, array[::scale, ::scale].repeat(scale, 0).repeat(scale, 1))
    return [array[:: len(array) // 16, :: len(array) // 16] for array in drawn]


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


def test_images_share_one_grey_scale_and_are_not_smoothed(samples):
    dim = samples.images[:3] // 2
    figure = image_grid([dim], ["row"], [[]])
    np.testing.assert_array_equal(shown(figure), dim[:, 0])
    for drawn in figure.images:
        assert drawn.get_clim() == (0, 255)
        assert drawn.get_cmap().name == "gray"
        assert drawn.origin == "upper"


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
    assert len(figure.images) == 4
    assert [text for text in texts(figure) if text in TYPES] == ["square", "triangular"]


def test_pairs_stand_one_above_the_other_and_say_the_condition_once(samples):
    lower = samples.images[:, :, ::-1]
    figure = draw_pairs(("truth", samples.images), ("ours", lower), samples.type, samples.labels, "full", columns=4)
    assert_tidy(figure)
    assert len(figure.images) == 4 * 2 * 4
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
    names = ("truth", "mop", "diffusion", "my_prior")
    images = {name: samples.images // (i + 1) for i, name in enumerate(names)}
    figure = draw_samples(images, samples.type, samples.labels, "rot_only", per_type=2)
    assert_tidy(figure)
    chosen = np.concatenate([np.flatnonzero(samples.type == k)[:2] for k in range(4)])
    assert len(figure.images) == len(names) * 8
    drawn = np.array(shown(figure)).reshape(len(names), 8, 16, 16)
    for row, name in zip(drawn, names, strict=True):
        np.testing.assert_array_equal(row, images[name][chosen, 0])
    labels = [method_label(name) for name in names]
    assert [text for text in texts(figure) if text in labels] == labels
    assert [text for text in texts(figure) if text not in labels] == [
        condition_label(samples.type[i], samples.labels[i], "rot_only") for i in chosen
    ]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_a_sheet_holds_all_images_pixel_by_pixel(samples, tmp_path, n, columns):
    save_sheet(samples.images[:n], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    np.testing.assert_array_equal(sheet, sheet[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    sheet = sheet[::2, ::2]
    side, gap = samples.images.shape[-1], 4
    rows = -(-n // columns)
    assert sheet.shape == (rows * (side + gap) + gap, columns * (side + gap) + gap)
    for i in range(rows * columns):
        top, left = ((side + gap) * k + gap for k in divmod(i, columns))
        expected = samples.images[i, 0] if i < n else np.full((side, side), 255)
        np.testing.assert_array_equal(sheet[top : top + side, left : left + side], expected)


def test_a_sheet_says_what_it_was_told_and_nothing_of_its_making(samples, tmp_path):
    for name in ("one.png", "other.png"):
        save_sheet(samples.images[:3], tmp_path / name, '{"prior": "mop"}')
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    save_sheet(samples.images[:3], tmp_path / "bare.png")
    for name, told in (("one.png", {"Description": '{"prior": "mop"}'}), ("bare.png", {})):
        with Image.open(tmp_path / name) as image:
            assert image.info == told


def test_the_worst_stand_below_their_truth_with_a_caption_above_each_pair(samples):
    captions = [f"{i} dB" for i in range(16)]
    figure = draw_worst(samples.images[:16], samples.images[16:32], captions, "ours")
    assert_tidy(figure)
    drawn = np.array(shown(figure)).reshape(2, 2, 8, 16, 16)
    np.testing.assert_array_equal(drawn[:, 0].reshape(16, 16, 16), samples.images[:16, 0])
    np.testing.assert_array_equal(drawn[:, 1].reshape(16, 16, 16), samples.images[16:32, 0])
    extents = boxes(figure).reshape(2, 2, 8, 4)
    np.testing.assert_allclose(extents[:, 0, :, [0, 2]], extents[:, 1, :, [0, 2]])
    assert (extents[:, 0, :, 1] > extents[:, 1, :, 3]).all()
    where = {text.get_text(): text.get_position() for text in figure.texts}
    for i, caption in enumerate(captions):
        x0, _, x1, top = extents[i // 8, 0, i % 8]
        assert where[caption][0] == pytest.approx((x0 + x1) / 2)
        assert top < where[caption][1] < top + 0.02
    assert texts(figure).count("truth") == texts(figure).count("ours") == 2


@pytest.mark.parametrize("n", [1, 3, 11])
def test_fewer_than_sixteen_can_be_the_worst(samples, n):
    figure = draw_worst(samples.images[:n], samples.images[:n], ["x"] * n)
    assert_tidy(figure)
    assert len(figure.images) == 2 * n


@pytest.mark.parametrize(
    ("psnr", "error", "caption"),
    [(12.34, 4.567, "12.3 dB\n4.6° off"), (9.0, 0.01234, "9.0 dB\n0.012° off"), (7.5, np.nan, "7.5 dB\nno lattice")],
)
def test_a_caption_tells_the_error_or_that_there_is_no_lattice(psnr, error, caption):
    assert worst_caption(psnr, error) == caption


def test_grids_have_the_same_bytes_twice(samples, tmp_path):
    assert_same_bytes(lambda: draw_preview(samples, "full", columns=2), tmp_path)
    assert_same_bytes(lambda: draw_worst(samples.images[:3], samples.images[3:6], ["a", "b", "c"]), tmp_path)
