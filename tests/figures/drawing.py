"""What the tests of figures read back from them."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from toycrystals.figures.style import save_figure


def texts(figure):
    return [text.get_text() for text in figure.texts]


def words(figure):
    """Every text that shows, wherever it stands."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def boxes(figure):
    return np.array([axes.get_position().extents for axes in figure.axes])


def assert_tidy(figure):
    """All axes and words lie on the figure, no two axes overlap, and no two ticks of an axis."""
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
    ticks = [label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in drawn_ticks(axis)]
    for text in [*figure.texts, *(axes.title for axes in figure.axes), *(axes._left_title for axes in figure.axes), *ticks]:
        box = text.get_window_extent()
        if text.get_text():
            assert box.x0 >= -1, text.get_text()
            assert box.y0 >= -1, text.get_text()
            assert box.x1 <= width + 1, text.get_text()
            assert box.y1 <= height + 1, text.get_text()
    titles = [axes._left_title for axes in figure.axes]
    for labels in (titles, *(drawn_ticks(axis) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))):
        assert_apart([label for label in labels if label.get_text() and label.get_rotation() in (0, 90)])


def drawn_ticks(axis):
    """The labels of the ticks within the axis's limits."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]


def assert_apart(labels):
    extents = [label.get_window_extent() for label in labels]
    for i, one in enumerate(extents):
        for k in range(i):
            assert not one.overlaps(extents[k]), (labels[i].get_text(), labels[k].get_text())


def assert_same_bytes(draw, folder):
    """`draw()` gives the same PNG twice."""
    for name in ("one.png", "other.png"):
        save_figure(draw(), folder / name)
    content = (folder / "one.png").read_bytes()
    assert len(content) > 1000
    assert content == (folder / "other.png").read_bytes()
