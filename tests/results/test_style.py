import struct

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from skimage.color import rgb2lab

from toycrystals.crystals.lattice import TYPES
from toycrystals.results.style import (
    LABELS,
    method_colours,
    method_label,
    ordered_methods,
    save_figure,
    type_colours,
)
from toycrystals.results.vega import chart, to_png

# Linear RGB as it is seen without one kind of cones (Machado et al. 2009): those for red, green and blue.
SIGHTS = {
    "all": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def distance(colours):
    """Between the nearest two of them."""
    points = np.array([to_rgb(colour) for colour in colours])
    return np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(len(points), 1)].min()


def test_a_method_is_called_by_its_label_and_a_stranger_by_its_name():
    assert len({method_label(name) for name in LABELS}) == len(LABELS)
    assert method_label("a_new_prior") == "a_new_prior"


def test_references_come_first_and_every_method_once():
    assert ordered_methods(["mop", "mine", "reconstruction", "mop", "real"]) == ["real", "reconstruction", "mop", "mine"]
    assert ordered_methods(["mine"]) == ["mine"]


def test_known_methods_keep_their_colours_and_strangers_get_their_own():
    strangers = [f"prior {i}" for i in range(30)]
    together = method_colours([*strangers[:15], *LABELS, *strangers[15:]])
    assert together.items() >= method_colours(LABELS).items()
    assert distance(together.values()) > 0.02


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_the_house_and_of_a_stranger_stay_apart_for_every_eye(sight):
    rgb = np.array([to_rgb(colour) for colour in method_colours([*LABELS, "mine"]).values()])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = np.clip(linear @ np.transpose(SIGHTS[sight]), 0.0, 1.0)
    seen = rgb2lab(np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen))
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(len(seen), 1)]
    # A difference of 2 can just be seen.
    assert apart.min() > 12


def test_a_stranger_s_colour_does_not_depend_on_the_house_s_methods_beside_it():
    assert method_colours(["mine"])["mine"] == method_colours(["real", "mop", "mine"])["mine"]


def test_any_number_of_types_has_a_colour_each():
    colours = type_colours([*TYPES, *(f"type {i}" for i in range(6))])
    assert distance(colours.values()) > 0.1
    assert {name: colours[name] for name in TYPES} == type_colours(TYPES)


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
    spec = chart("training", panels=[])
    for name, drawing in (("figure", figure), ("chart", spec)):
        save_figure(drawing, tmp_path / f"{name}.png")
        assert not png_chunks((tmp_path / f"{name}.png").read_bytes()) & {b"tEXt", b"iTXt", b"zTXt", b"tIME"}
    assert (tmp_path / "chart.png").read_bytes() == to_png(spec)
    save_figure(figure, str(tmp_path / "figure.pdf"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
