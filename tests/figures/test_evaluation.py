import numpy as np
import pandas as pd
import pytest
from drawing import assert_same_bytes, assert_tidy, words
from matplotlib.colors import to_hex

from toycrystals.figures.evaluation import Panel, draw_controls, draw_estimates, z_text
from toycrystals.figures.style import method_colours, method_label

METHODS = ("mop", "diffusion", "real", "my_prior", "reconstruction")
PANELS = {
    "psnr": Panel("matched PSNR", "dB"),
    "theta": Panel("95th percentile of the angle error", "degrees", log=True),
    "mmd2": Panel("MMD$^2$", log=True),
    "frequency": Panel("frequency of squares"),
    "recall": Panel("recall"),
}


def estimates(methods=METHODS):
    """Every metric of every method, but: mop has no theta, nobody has recall, real has no interval, one MMD is negative."""
    rows = []
    for i, method in enumerate(methods):
        values = {
            "psnr": 50.0 - i,
            "theta": np.nan if method == "mop" else 0.01 * 3**i,
            "mmd2": 1e-3 * i - 1e-4,
            "frequency": 0.25,
        }
        for metric, value in values.items():
            width = np.nan if method == "real" else 0.1 * abs(value)
            mean = {"psnr": 60.0, "theta": 0.005, "mmd2": 0.0, "frequency": np.nan}[metric]
            row = {"method": method, "metric": metric, "type": "all", "value": value, "low": value - width, "high": value + width}
            row |= {"floor": np.nan if metric == "psnr" else mean, "ceiling": mean if metric == "psnr" else np.nan}
            q95 = {"psnr": 59.0, "theta": 0.007, "mmd2": 2e-4, "frequency": np.nan}[metric]
            row |= {"sd": 1e-4, "q95": q95, "verdict": "at floor" if method == "diffusion" else ""}
            rows += [row, row | {"type": "square", "value": 12345.0}]
    return pd.DataFrame(rows)


def dots(axes):
    """{row: (x, filled)} of an axes' points."""
    return {line.get_ydata()[0]: (line.get_xdata()[0], line.get_markerfacecolor() != "white") for line in axes.lines}


def spans(axes, collection):
    """[(start, end)] of the horizontal or vertical segments of a collection, in order."""
    return [np.asarray(segment) for segment in axes.collections[collection].get_segments()]


def test_a_dot_stands_at_every_value_in_the_row_of_its_method():
    table = estimates()
    figure = draw_estimates(table, PANELS)
    assert_tidy(figure)
    order = ["real", "reconstruction", "mop", "diffusion", "my_prior"]
    first, *_ = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [method_label(method) for method in order]
    assert first.get_ylim() == (4.5, -0.5)
    for axes, metric in zip(figure.axes, PANELS, strict=True):
        rows = table[(table["metric"] == metric) & (table["type"] == "all")].set_index("method")
        expected = {order.index(m): (row["value"], m != "diffusion") for m, row in rows.iterrows() if np.isfinite(row["value"])}
        assert dots(axes) == expected
        colours = method_colours(order)
        assert {line.get_ydata()[0]: line.get_color() for line in axes.lines} == {y: colours[order[y]] for y in expected}
        low, high = axes.get_xlim()
        assert all(low < x < high for x, _ in expected.values())


def test_intervals_floors_and_bands_stand_where_the_table_says():
    table = estimates()
    psnr, theta, *_ = draw_estimates(table, PANELS).axes
    # The first collection is the line of real images, a piece a row; then the intervals of the methods that have one.
    for axes, mean, q95 in ((psnr, 60.0, 59.0), (theta, 0.005, 0.007)):
        assert [tuple(piece[:, 0]) for piece in spans(axes, 0)] == [(mean, mean)] * 5
        np.testing.assert_array_equal([piece[:, 1] for piece in spans(axes, 0)], [[y - 0.5, y + 0.5] for y in range(5)])
        for bar in axes.patches:
            np.testing.assert_allclose(sorted((bar.get_x(), bar.get_x() + bar.get_width())), sorted((mean, q95)))
            assert bar.get_height() == 1.0
        assert len(axes.patches) == 5
    rows = table[(table["metric"] == "psnr") & (table["type"] == "all")].set_index("method")
    drawn = {piece[0, 1]: tuple(piece[:, 0]) for k in range(1, 6) for piece in spans(psnr, k) if piece.size}
    names = ["real", "reconstruction", "mop", "diffusion", "my_prior"]
    assert drawn == {y: tuple(rows.loc[m, ["low", "high"]]) for y, m in enumerate(names) if m != "real"}


def test_titles_tell_unit_and_the_better_way_and_axes_follow_the_panel():
    figure = draw_estimates(estimates(), PANELS)
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]
    assert titles == [
        "matched PSNR, dB →",
        "95th percentile of the angle error, degrees ←",
        "MMD$^2$ ←",
        "frequency of squares",
        "recall",
    ]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "symlog", "linear", "linear"]
    assert figure.axes[2].xaxis.get_transform().linthresh == 1e-4
    assert any("95 % interval" in word and "fresh real images" in word for word in words(figure))


def test_what_has_no_value_is_a_dash_in_its_row():
    figure = draw_estimates(estimates(), PANELS)
    dashes = [[text.get_position()[1] for text in axes.texts if text.get_text() == "-"] for axes in figure.axes]
    assert dashes == [[], [2], [], [], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("method", ["real", "mop", "my_prior"])
def test_one_method_can_stand_alone(method):
    figure = draw_estimates(estimates([method]), PANELS)
    assert_tidy(figure)
    assert len(figure.axes) == len(PANELS)
    assert method_label(method) in words(figure)


def test_all_methods_can_have_failed():
    table = estimates().assign(value=np.nan, low=np.nan, high=np.nan)
    bare = table.assign(floor=np.nan, ceiling=np.nan, q95=np.nan, sd=np.nan)
    for failed in (table, bare):
        figure = draw_estimates(failed, PANELS)
        assert_tidy(figure)
        assert words(figure).count("-") == len(PANELS) * len(METHODS)


def test_sixteen_panels_and_ten_methods_fit():
    methods = [*METHODS, *(f"prior_{i}" for i in range(5))]
    table = estimates(methods)
    metrics = {f"{metric}{i}": panel for i in range(4) for metric, panel in list(PANELS.items())[:4]}
    table = pd.concat([table.assign(metric=table["metric"] + str(i)) for i in range(4)])
    figure = draw_estimates(table, metrics)
    assert_tidy(figure)
    assert len(figure.axes) == 16
    assert figure.get_figwidth() == 9.0


CONTROLS = pd.DataFrame(
    [[0.31, -1.26, 2.99], [5.0, 120.4, np.nan], [3.0, 4e5, -2e4]],
    index=["real, drawn again", "rotated by 5°", "constant"],
    columns=["psnr", "mmd2", "theta"],
)
NAMES = {"psnr": "matched PSNR", "mmd2": "MMD$^2$"}


def test_controls_have_a_number_in_every_cell_that_has_one():
    figure = draw_controls(CONTROLS, NAMES)
    assert_tidy(figure)
    (axes,) = figure.axes
    expected = [["0.3", "-1.2", "2.9"], ["5", "120", None], ["3", ">999", "<-999"]]
    found = {text.get_position(): text.get_text() for text in axes.texts if text.get_text()}
    assert found == {(c, r): text for r, row in enumerate(expected) for c, text in enumerate(row) if text}
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CONTROLS.index)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["matched PSNR", "MMD$^2$", "theta"]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {45.0}


def test_cells_below_three_are_white_missing_ones_grey_and_the_colour_ends_at_a_thousand():
    (axes,) = draw_controls(CONTROLS.assign(extra=[2.9, 1000.0, 1e9]), NAMES).axes
    (mesh,) = axes.collections
    rgba = mesh.cmap(mesh.norm(mesh.get_array()))
    colours = [[to_hex(cell) for cell in row] for row in rgba]
    assert colours[0] == ["#ffffff"] * 4
    assert colours[1][2] == "#e0e0e0"
    assert colours[2][2] == "#ffffff"
    assert colours[2][1] == colours[1][3] == colours[2][3]
    dark = rgba[..., :3].sum(axis=-1)
    assert dark[2, 0] > dark[1, 0] > dark[1, 1] > dark[2, 1]


def test_groups_stand_together_with_a_line_between_and_a_name_below():
    figure = draw_controls(CONTROLS, NAMES, {"psnr": "images", "mmd2": "latents", "theta": "images"})
    assert_tidy(figure)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["matched PSNR", "theta", "MMD$^2$"]
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    names = {text.get_text(): text.xy[0] for text in axes.texts if text.get_text() in ("images", "latents")}
    assert names == {"images": 0.5, "latents": 2.0}
    assert {text.get_position(): text.get_text() for text in axes.texts}[(2, 1)] == "120"


@pytest.mark.parametrize(("shape", "blocks"), [((1, 1), [1]), ((2, 3), [3]), ((14, 16), [16]), ((9, 35), [12, 12, 11])])
def test_controls_of_any_number_fit(shape, blocks):
    z = pd.DataFrame(np.full(shape, 1e5), index=[f"range of angles missing {i}" for i in range(shape[0])])
    z.columns = [f"metric {i}" for i in range(shape[1])]
    long = dict.fromkeys(z.columns[-2:], "swapped: angle error to the decoder's condition, median")
    figure = draw_controls(z, long, {metric: f"group {i // 9}" for i, metric in enumerate(z.columns)})
    assert_tidy(figure)
    assert figure.get_figwidth() <= 10.0
    assert [len(axes.get_xticklabels()) for axes in figure.axes] == blocks
    names = [label.get_text().replace("\n", " ") for axes in figure.axes for label in axes.get_xticklabels()]
    assert names == [long.get(metric, metric) for metric in z.columns]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    for axes in figure.axes:
        width = axes.get_window_extent().width / max(blocks)
        assert all(text.get_window_extent().width < width for text in axes.texts if text.get_text() == ">999")


def test_controls_without_any_number_can_be_drawn():
    assert_tidy(draw_controls(CONTROLS * np.nan, NAMES))


@pytest.mark.parametrize(
    ("z", "text"),
    [(0.0, "0"), (-0.04, "0"), (0.3, "0.3"), (2.99, "2.9"), (3.0, "3"), (9.96, "9.9"), (10.9, "10"), (999.9, "999"),
     (1000.0, ">999"), (-2.5, "-2.5"), (-1e9, "<-999"), (np.inf, ">999")],
)  # fmt: skip
def test_z_is_cut_and_clipped(z, text):
    assert z_text(z) == text


def test_evaluations_have_the_same_bytes_twice(tmp_path):
    assert_same_bytes(lambda: draw_estimates(estimates(), PANELS), tmp_path)
    assert_same_bytes(lambda: draw_controls(CONTROLS, NAMES), tmp_path)
