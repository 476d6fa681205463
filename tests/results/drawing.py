"""What the tests of image grids read back from them."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from toycrystals.results.style import save_figure


def texts(figure):
    return [text.get_text() for text in figure.texts]


def boxes(figure):
    """Left, bottom, right and top of each image, in parts of the figure."""
    size = np.tile(figure.get_size_inches() * figure.dpi, 2)
    return np.array([[i.ox, i.oy, i.ox + i.get_array().shape[1], i.oy + i.get_array().shape[0]] for i in figure.images]) / size


def assert_tidy(figure):
    """All images and words lie on the figure, and no two images overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    extents = boxes(figure)
    assert extents.min() >= 0.0
    assert extents.max() <= 1.0
    for i, (x0, y0, x1, y1) in enumerate(extents):
        others = np.delete(extents, i, axis=0)
        apart = (others[:, 0] >= x1) | (others[:, 2] <= x0) | (others[:, 1] >= y1) | (others[:, 3] <= y0)
        assert apart.all()
    width, height = canvas.get_width_height()
    for text in figure.texts:
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
        assert -1 <= box.y0 <= box.y1 <= height + 1, text.get_text()


def assert_same_bytes(draw, folder):
    """`draw()` gives the same PNG twice."""
    for name in ("one.png", "other.png"):
        save_figure(draw(), folder / name)
    content = (folder / "one.png").read_bytes()
    assert len(content) > 1000
    assert content == (folder / "other.png").read_bytes()
