"""In which variants labels and aspect determine the image: told by their ranges, and seen in the images."""

from dataclasses import replace

import numpy as np
import pytest

from toycrystals.crystals.dataset import DatasetSpec, make_samples, redraw
from toycrystals.crystals.variants import VARIANTS, is_determined


@pytest.mark.parametrize(("variant", "expected"), [("simple", True), ("rot_only", True), ("full", False)])
def test_an_image_is_determined_where_the_same_labels_give_it_again(variant, expected):
    """All types but the one with an aspect, drawn twice."""
    spec = DatasetSpec(variant, 4, 16, seed=0)
    samples = make_samples(spec, "test", 60)
    drawn = [redraw(spec, samples.type, samples.factors, draw).images[samples.type != 1] for draw in (1, 2)]
    assert is_determined(variant) is expected
    assert np.array_equal(*drawn) is expected


SEEN, HIDDEN = (True, True, True, True), (False, False, False, False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"visible": SEEN}, True),
        ({"visible": HIDDEN}, False),
        ({"theta": (0.5, 0.5), "visible": HIDDEN}, True),
        ({"spacing": (9.0, 10.0)}, False),
        ({"spacing": (9.0, 10.0), "visible": SEEN}, True),
        # Which atoms are missing, and where the others went, is in no label.
        ({"vacancy": (0.0, 0.1), "visible": SEEN}, False),
        ({"vacancy": (0.1, 0.1), "visible": SEEN}, False),
        ({"jitter": (0.0, 0.1), "visible": SEEN}, False),
        ({"jitter": (0.1, 0.1), "visible": SEEN}, False),
    ],
    ids=str,
)
def test_what_is_hidden_must_not_vary_and_nothing_may_be_drawn_atom_by_atom(changes, expected, monkeypatch):
    monkeypatch.setitem(VARIANTS, "new", replace(VARIANTS["rot_only"], **changes))
    assert is_determined("new") is expected
