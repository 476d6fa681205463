import struct

import numpy as np
import pytest
from drawing import drawn_ticks
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toycrystals.figures.style import (
    LABELS,
    legend,
    method_colours,
    method_label,
    method_line,
    method_marker,
    note,
    ordered_methods,
    save_figure,
    tick_label,
    type_colours,
    value_axis,
)
from toycrystals.lattice import TYPES
from toycrystals.priors.registry import PRIORS


def test_every_method_has_a_label_of_its_own():
    names = ["real", "reconstruction", *PRIORS]
    assert set(names) <= set(LABELS)
    assert len({method_label(name) for name in names}) == len(names)
    assert method_label("a_new_prior") == "a_new_prior"


def test_references_come_first_and_every_method_once():
    assert ordered_methods(["mop", "mine", "reconstruction", "mop", "real"]) == ["real", "reconstruction", "mop", "mine"]
    assert ordered_methods(["mine"]) == ["mine"]


def test_known_methods_keep_their_colours_and_strangers_get_their_own():
    house = method_colours(LABELS)
    strangers = [f"prior {i}" for i in range(30)]
    together = method_colours([*strangers[:15], *LABELS, *strangers[15:]])
    assert {name: together[name] for name in LABELS} == house
    colours = np.array([to_rgb(colour) for colour in together.values()])
    distance = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distance[np.triu_indices(len(colours), 1)].min() > 0.02


def test_a_stranger_s_colour_does_not_depend_on_the_house_s_methods_beside_it():
    assert method_colours(["mine"])["mine"] == method_colours(["real", "mop", "mine"])["mine"]


def test_types_have_colours_apart_from_all_of_them():
    colours = type_colours(["all", *TYPES])
    assert len(set(colours.values())) == len(TYPES) + 1
    assert {name: colours[name] for name in TYPES} == {name: type_colours(TYPES)[name] for name in TYPES}


def test_references_look_unlike_priors():
    assert {method_marker(name) for name in ("real", "reconstruction")} == {"s"}
    assert {method_marker(name) for name in (*PRIORS, "mine")} == {"o"}
    assert len({method_line(name) for name in ("real", "reconstruction", "mine")}) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.3, "0.3"), (50.0, "50"), (1e-3, "0.001"), (1e-5, "$10^{-5}$"), (-1e-4, "$-10^{-4}$"), (2e-5, "2e-5"),
     (1e6, "$10^{6}$")],
)  # fmt: skip
def test_a_tick_is_written_as_short_as_it_reads(value, text):
    assert tick_label(value) == text


def scaled(values, which="x", **options):
    axes = Figure(figsize=(3, 3), layout="constrained").subplots()
    pair = (values, np.arange(len(values))) if which == "x" else (np.arange(len(values)), values)
    axes.plot(*pair, "o")
    value_axis(axes, which, values, **options)
    return axes


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.01, 3.0, np.nan], "log"),
        ([1e-9, 1e9], "log"),
        ([0.5, 0.6], "log"),
        ([2.0], "log"),
        ([0.0, 1.0], "symlog"),
        ([-1e-5, 0.3], "symlog"),
        ([-2.0, -1.0], "symlog"),
        ([0.0], "symlog"),
    ],
)
def test_a_logarithmic_axis_shows_all_values_between_readable_ticks(values, scale, which):
    axes = scaled(values, which, log=True, linear=1e-4)
    assert getattr(axes, f"get_{which}scale")() == scale
    low, high = getattr(axes, f"get_{which}lim")()
    assert low < np.nanmin(values)
    assert high > np.nanmax(values)
    axis = getattr(axes, f"{which}axis")
    assert 1 <= len(drawn_ticks(axis)) <= 6
    assert len(axis.get_minorticklocs()) == 0
    assert (scale == "symlog") <= (0.0 in axis.get_majorticklocs() or values == [-2.0, -1.0])


def test_a_signed_axis_is_linear_within_the_given_range():
    transform = scaled([-3e-5, 0.1], log=True, linear=1e-4).xaxis.get_transform()
    assert transform.linthresh == 1e-4
    # Without a range: within the smallest value.
    assert scaled([-3e-5, 0.1], log=True).xaxis.get_transform().linthresh == 3e-5


def test_a_linear_axis_stays_linear_and_one_without_values_has_no_ticks():
    axes = scaled([-1.0, 2.0], log=False)
    assert axes.get_xscale() == "linear"
    assert len(drawn_ticks(axes.xaxis)) >= 3
    assert len(scaled([np.nan, np.nan], log=True).get_xticks()) == 0


def test_a_note_is_broken_to_the_figure_s_width():
    figure = Figure(figsize=(3, 2), layout="constrained")
    note(figure, "word " * 40)
    figure.draw_without_rendering()
    box = figure._supxlabel.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize("n", [1, 4, 9])
def test_a_legend_fits_the_figure(n):
    figure = Figure(figsize=(5, 4), layout="constrained")
    figure.subplots()
    legend(figure, [Line2D([], [], label="mixture of posteriors") for _ in range(n)])
    figure.draw_without_rendering()
    (drawn,) = figure.legends
    box = drawn.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert len(drawn.get_texts()) == n


def png_chunks(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        kinds.append(content[at + 4 : at + 8])
        at += size + 12
    return set(kinds)


def test_a_file_holds_no_date_and_no_version(tmp_path):
    figure = Figure()
    figure.text(0.5, 0.5, "word")
    save_figure(figure, str(tmp_path / "figure.png"))
    assert not png_chunks((tmp_path / "figure.png").read_bytes()) & {b"tEXt", b"iTXt", b"zTXt", b"tIME"}
    save_figure(figure, tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
