import numpy as np
import pandas as pd
import pytest
from drawing import assert_same_bytes, assert_tidy, drawn_ticks, words

from toycrystals.figures.curves import draw_curves, draw_steps, draw_wall_clock
from toycrystals.lattice import TYPES

STEPS = (1, 2, 4, 8, 16, 32, 50, 64, 128, 250)


def steps_table(steps=STEPS, types=("all", *TYPES)):
    """Quality that rises with the steps, one MMD^2 of which is negative, and seconds."""
    rows = []
    for s in steps:
        for i, kind in enumerate(types):
            psnr = 40 + i - 20 / s
            mmd2 = 0.05 / s**2 - 1e-4 if kind == "all" else np.nan
            row = {"steps": s, "type": kind, "psnr": psnr, "low": psnr - 0.5, "high": psnr + 0.5, "seconds": 0.1 + 0.02 * s}
            rows.append(row | {"mmd2": mmd2, "mmd2_low": mmd2 - 1e-4, "mmd2_high": mmd2 + 1e-4})
    return pd.DataFrame(rows)


def intervals(axes):
    """The ends of the vertical bars in an axes: [(x, low, high)] in drawing order."""
    segments = [segment for lines in axes.collections for segment in lines.get_segments()]
    return [(segment[0][0], segment[0][1], segment[1][1]) for segment in segments if len(segment)]


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
    for title, expected in zip(titles, ("VAE: total", "reconstruction", "KL", "diffusion"), strict=True):
        assert expected in title
    assert [text.get_text() for text in figure.axes[3].get_legend().get_texts()] == ["training", "held out"]


def test_quality_is_drawn_at_the_number_of_steps_whatever_the_order_of_rows():
    table = steps_table()
    figure = draw_steps(table.sample(frac=1.0, random_state=0), {"reconstruction": 47.0}, {"real": 1e-5})
    assert_tidy(figure)
    left, right = figure.axes
    drawn = {line.get_label(): line for line in left.lines}
    assert set(drawn) == {"all types", *TYPES, "VAE reconstruction"}
    for kind in ("all", *TYPES):
        rows = table[table["type"] == kind]
        line = drawn["all types" if kind == "all" else kind]
        np.testing.assert_array_equal(line.get_xdata(), rows["steps"])
        np.testing.assert_array_equal(line.get_ydata(), rows["psnr"])
    np.testing.assert_array_equal(drawn["VAE reconstruction"].get_ydata(), [47.0, 47.0])
    mmd2, real = right.lines
    overall = table[table["type"] == "all"]
    np.testing.assert_array_equal(mmd2.get_ydata(), overall["mmd2"])
    np.testing.assert_array_equal(real.get_ydata(), [1e-5, 1e-5])
    np.testing.assert_allclose(intervals(right), overall[["steps", "mmd2_low", "mmd2_high"]])
    assert (left.get_xscale(), left.get_yscale(), right.get_yscale()) == ("log", "linear", "symlog")
    np.testing.assert_array_equal(left.get_xticks(), STEPS)
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "50", "", "128", "250"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()].count("all types") == 1


def test_positive_mmd_stands_on_a_logarithmic_axis():
    table = steps_table().assign(mmd2=lambda t: t["mmd2"].abs() + 1, mmd2_low=0.5, mmd2_high=9.0)
    assert draw_steps(table).axes[1].get_yscale() == "log"


@pytest.mark.parametrize("types", [("all",), ("all", "square")])
@pytest.mark.parametrize("steps", [(50,), (5, 6, 7)])
def test_few_steps_and_few_types_can_be_drawn(steps, types):
    figure = draw_steps(steps_table(steps, types), {"reconstruction": 47.0, "real": np.nan})
    assert_tidy(figure)
    assert "VAE reconstruction" in words(figure)
    assert "real" not in words(figure)
    assert_tidy(draw_wall_clock(steps_table(steps, types)))


def test_all_steps_can_have_failed():
    failed = steps_table().assign(**dict.fromkeys(("psnr", "low", "high", "mmd2", "mmd2_low", "mmd2_high"), np.nan))
    for figure in (draw_steps(failed), draw_wall_clock(failed)):
        assert_tidy(figure)
        assert all(not drawn_ticks(axes.yaxis) for axes in figure.axes)


def test_the_clock_has_the_steps_beside_the_points():
    table = steps_table()
    figure = draw_wall_clock(table)
    assert_tidy(figure)
    overall = table[table["type"] == "all"]
    for axes, column in zip(figure.axes, ("psnr", "mmd2"), strict=True):
        (line,) = axes.lines
        np.testing.assert_array_equal(line.get_xdata(), overall["seconds"])
        np.testing.assert_array_equal(line.get_ydata(), overall[column])
        assert axes.get_xscale() == "log"
        assert [text.get_text() for text in axes.texts] == [str(step) for step in STEPS]
        np.testing.assert_array_equal([text.xy for text in axes.texts], overall[["seconds", column]])
    assert [axes.get_xlabel() for axes in figure.axes] == ["seconds for 4,096 codes"] * 2


def test_curves_have_the_same_bytes_twice(tmp_path):
    losses = pd.DataFrame({name: [1.0, 2.0] for name in ("epoch", "total", "reconstruction", "kl", "val_total")})
    assert_same_bytes(lambda: draw_curves(losses, losses), tmp_path)
    assert_same_bytes(lambda: draw_steps(steps_table(), {"real": 59.0}), tmp_path)
    assert_same_bytes(lambda: draw_wall_clock(steps_table()), tmp_path)
