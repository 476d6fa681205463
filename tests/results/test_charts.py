"""Every value is drawn where its axis says, by the names of the house; what was never measured breaks nothing."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from results.charted import METHODS, STEPS, TYPES, VALUES, controls, curve, marks, pairs, steps, table

from toycrystals.metrics.comparison import PAIRED
from toycrystals.metrics.controls import COLLAPSED
from toycrystals.metrics.measures import MEASURES
from toycrystals.results import charts
from toycrystals.results.catalogue import CHART, CONTROL_CHART, CONTROL_LABELS, METRICS, label_of, titled
from toycrystals.results.style import method_colours, method_label
from toycrystals.results.vega import to_png

TEMPLATES = {
    "intervals": (charts.intervals(list(VALUES)), table()),
    "differences": (charts.differences(), pairs()),
    "controls": (charts.controls(), controls()),
    "steps": (charts.steps(), steps(("diffusion", "my_prior"))),
    "curve": (charts.curve(), curve(value=1.0)),
    "log_curve": (charts.curve(log=True), curve(value=1.0)),
}


def filled(name, rows=None):
    template, known = TEMPLATES[name]
    columns = {"x": "epoch", "y": "value", "x_label": "epoch", "y_label": "loss"} if "curve" in name else {}
    return charts.filled(template, known if rows is None else rows, **columns)


def told(mark):
    """The fields that a mark stands for."""
    return dict(part.split(": ", 1) for part in mark["description"].split("; "))


def pixels(spec):
    return np.asarray(Image.open(io.BytesIO(to_png(spec))).convert("L"))


def test_every_metric_that_is_shown_is_measured_and_has_a_name_of_its_own():
    assert set(METRICS) == set(MEASURES)
    assert {*CHART, *CONTROL_CHART} <= set(METRICS)
    assert len({label.label for label in METRICS.values()}) == len(METRICS)


def test_a_metric_that_nobody_described_is_called_by_its_name():
    assert titled("my_metric") == "my_metric"
    assert not label_of("my_metric").log


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chart_is_a_picture_and_the_same_one_twice(name):
    first = to_png(filled(name))
    assert first == to_png(filled(name))
    image = np.asarray(Image.open(io.BytesIO(first)).convert("L"))
    assert image[0, 0] == 255
    assert np.mean(image < 200) > 0.002
    assert image.shape[1] < 1600


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_leaves_rows_and_title_to_dvc_and_a_filled_one_nothing(name):
    template = repr(TEMPLATES[name][0])
    assert all(anchor.startswith("<DVC_METRIC_") for anchor in re.findall("<[A-Z_]*>", template))
    assert "'<DVC_METRIC_DATA>'" in template
    assert "'<DVC_METRIC_TITLE>'" in template
    assert ("'<DVC_METRIC_COLOR>'" in template) == (name != "controls")
    assert not re.findall("<[A-Z_]*>", repr(filled(name)))
    # Of one revision no tooltip says which.
    assert "{'field': 'rev'}" not in repr(filled(name))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("missing", ["rows", "numbers"])
def test_a_chart_without_numbers_can_be_drawn(name, missing):
    rows = TEMPLATES[name][1]
    numbers = rows.select_dtypes(float).columns
    spec = filled(name, rows.iloc[:0] if missing == "rows" else rows.assign(**dict.fromkeys(numbers, np.nan)))
    assert pixels(spec).size > 0
    assert not [mark for mark in marks(spec, "symbol") if mark["fill"] != "white"]


def test_every_method_has_its_interval_and_its_dot_in_every_panel():
    rows = table()
    spec = filled("intervals")
    dots = [mark for mark in marks(spec, "symbol") if mark["fill"] != "white"]
    wanted, colours = rows[rows["type"] == "all"], method_colours(METHODS)
    shown = [(told(mark)["label"], mark["fill"]) for mark in dots]
    assert sorted(shown) == sorted((method_label(name), colours[method_label(name)]) for name in wanted["method"])
    assert len(dots) == len([mark for mark in marks(spec, "rule") if "low" in mark.get("description", "")]) == len(wanted)
    assert len({mark["fill"] for mark in dots}) == len(METHODS)
    for mark in marks(spec, "rule"):
        assert mark["x"] < mark["x2"]


def test_a_dot_at_the_floor_is_hollow_and_no_other():
    hollow = [mark for mark in marks(filled("intervals"), "symbol") if mark["fill"] == "white" and mark["size"] > 0]
    assert {told(mark)["label"] for mark in hollow} == {method_label("mop")}
    assert len(hollow) == len(VALUES)


def test_dots_stand_in_the_order_of_their_values_also_where_those_are_not_positive():
    values = [-3e-5, -1e-6, 0.0, 1e-6, 2e-5, 0.3]
    rows = pd.concat([table([f"prior {i}"], {"mmd2_pca": value}) for i, value in enumerate(values)])
    dots = [mark for mark in marks(charts.filled(charts.intervals(["mmd2_pca"]), rows), "symbol") if mark["fill"] != "white"]
    x = [mark["x"] for mark in sorted(dots, key=lambda mark: float(told(mark)["value"].replace("\u2212", "-")))]
    assert len(x) == len(values)
    assert (np.diff(x) > 1).all()


def test_a_method_without_a_value_keeps_its_row_and_says_why():
    rows = table(METHODS[:3], {"matched_psnr": 40.0, "my_metric": 1.0})
    rows.loc[(rows["metric"] == "matched_psnr") & (rows["method"] == "real"), ["value", "low", "high"]] = np.nan
    rows.loc[rows["method"] == "real", "verdict"] = "no valid image"
    rows = rows[(rows["metric"] == "matched_psnr") | (rows["method"] != "mop")]
    spec = charts.filled(charts.intervals(["matched_psnr", "my_metric"]), rows)
    assert sorted(mark["text"] for mark in marks(spec, "text")) == ["no valid image", "–"]
    assert len([mark for mark in marks(spec, "symbol") if mark["fill"] != "white"]) == 4


def test_every_pair_is_drawn_for_every_metric_that_pairs_are_compared_by():
    rows = pairs()
    assert set(rows["metric"]) == set(PAIRED)
    dots = marks(filled("differences"), "symbol")
    full = [mark for mark in dots if mark["fill"] != "white"]
    assert len(full) == len(rows)
    assert len([mark for mark in dots if mark["fill"] == "white" and mark["size"] > 0]) == (rows["p_holm"] >= 0.05).sum()
    assert {told(mark)["label"] for mark in full} >= {"real − mixture of posteriors", "latent diffusion − my_prior"}


@pytest.mark.parametrize("lacking", PAIRED)
def test_a_pair_stands_in_one_row_of_all_panels_also_where_a_metric_lacks_some(lacking):
    rows = pairs()
    rows = rows[(rows["metric"] != lacking) | (rows["a"] == "diffusion")]
    dots = [mark for mark in marks(filled("differences", rows), "symbol") if mark["fill"] != "white"]
    places = pd.DataFrame({"label": [told(mark)["label"] for mark in dots], "y": [mark["y"] for mark in dots]})
    assert (places.groupby("label")["y"].nunique() == 1).all()
    assert places["y"].nunique() == places["label"].nunique() == 6


def test_controls_are_cut_and_only_what_is_seen_has_a_colour():
    spec = filled("controls")
    assert {mark["text"] for mark in marks(spec, "text")} == {0.3, 2.9, 3, -1.2, ">999", "<-999", 9.9, 120}
    coloured = [mark for mark in marks(spec, "rect") if mark["fill"] != "white"]
    assert sorted(float(told(mark)["z"].replace(",", "")) for mark in coloured) == [3.0, 9.96, 120.9, 1e5]
    assert {told(mark)["control"] for mark in marks(spec, "rect")} == {"real", "rotated by 90°", "my_control"}


@pytest.mark.parametrize("methods", [("diffusion",), ("diffusion", "my_prior")])
def test_quality_has_a_line_a_method_in_a_panel_a_type(methods):
    dots = marks(charts.filled(charts.steps(), steps(methods)), "symbol")
    assert len(dots) == len(methods) * len(STEPS) * (len(TYPES) + 1)
    assert {mark["fill"] for mark in dots} == set(method_colours(methods).values())
    assert {told(mark)["kind"] for mark in dots} == {"all types", *TYPES[1:]}


def test_quality_has_intervals_of_psnr_and_none_of_mmd2():
    bars = [mark for mark in marks(filled("steps"), "rule") if mark["y"] != mark.get("y2", mark["y"])]
    assert len(bars) == 2 * len(STEPS) * len(TYPES)
    assert not [mark for mark in bars if "mmd2" in mark["description"]]


@pytest.mark.parametrize(("log", "drawn"), [(False, 4), (True, 2)])
def test_a_curve_shows_what_its_axis_can(log, drawn):
    rows = pd.DataFrame({"epoch": [1, 2, 3, 4, 5], "value": [3.0, 0.1, 0.0, -2.0, np.nan]})
    spec = charts.filled(charts.curve(log=log), rows, x="epoch", y="value", x_label="epoch", y_label="")
    assert len(marks(spec, "symbol")) == drawn


def test_training_has_a_panel_a_quantity_with_what_was_held_out_beside_it():
    vae, flow = curve(total=1.0, kl=20.0, val_psnr=30.0), curve(epochs=6, nll=1.0, val_nll=2.0)
    at_once = pd.DataFrame({"epoch": [0], "val_total": [3.0]})
    spec = charts.training({"VAE": vae, "my flow": flow, "Gaussian": at_once})
    titles = [" ".join(panel["title"]["text"]) for panel in spec["concat"]]
    assert titles == ["VAE: loss", "VAE: KL, nats an image", "VAE: PSNR, dB, held out", "my flow: −log p(z), nats"]
    assert len(marks(spec, "symbol")) == 3 * 4 + 2 * 6
    assert pixels(spec).min() < 200


def test_without_curves_there_is_an_empty_page():
    assert pixels(charts.training({})).min() == 255


def test_the_label_of_a_control_tells_its_number():
    assert f"{COLLAPSED} images" in CONTROL_LABELS["collapsed"]
