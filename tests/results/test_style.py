import struct

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

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
