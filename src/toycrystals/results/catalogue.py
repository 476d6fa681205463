"""What people read of a metric: its label, unit and scale. Nothing that computes depends on it.

A metric without a row is called by its name, on a linear axis.
"""

from typing import NamedTuple


class Label(NamedTuple):
    """How a metric is shown; `log`: on a logarithmic axis."""

    label: str
    unit: str = ""
    log: bool = False


METRICS = {
    "matched_psnr": Label("matched PSNR", "dB"),
    "type_accuracy_merged": Label("type accuracy"),
    "theta_error_median": Label("angle error, median", "°", log=True),
    "theta_error_p95": Label("angle error, 95th percentile", "°", log=True),
    "spacing_error_median": Label("spacing error, median", "relative", log=True),
    "vacancy_error_mean": Label("vacancy error, mean"),
    "aspect_w1": Label("aspect W1", log=True),
    "reason": Label("images by reason"),
    "valid": Label("images that are a lattice about the centre"),
    "nearest_ncc": Label("correlation with the nearest lattice"),
    "type_frequency": Label("type frequency"),
    "type_tv": Label("type frequencies, total variation"),
    "found_theta_w1": Label("angles found, W1", "°", log=True),
    "found_aspect_w1": Label("aspects found, W1", log=True),
    "found_spacing_w1": Label("spacings found, W1", "px", log=True),
    "found_vacancy_w1": Label("vacancies found, W1", log=True),
    "mmd2_pca": Label("MMD²", log=True),
    "frechet_pca": Label("Fréchet distance", log=True),
    "precision_pca": Label("precision"),
    "recall_pca": Label("recall"),
    "coverage_pca": Label("coverage"),
    "auc_pca": Label("AUC, boosted trees"),
    "latent_mmd2": Label("latent MMD²", log=True),
    "latent_auc_boosted": Label("latent AUC, boosted trees"),
    "latent_auc_aggregate": Label("latent AUC without conditions"),
    "copy_code": Label("codes close to a training code"),
    "copy_image": Label("images close to a training image"),
    "swap_decoder_type": Label("swapped: type of the decoder's condition"),
    "swap_code_type": Label("swapped: type of the code's condition"),
    "rate": Label("rate, KL(q(z|x, c) || p(z|c))", "nats", log=True),
    "kl_oracle": Label("KL(q(z|c) || p(z|c))", "nats", log=True),
    "mutual_information": Label("I(x; z | c)", "nats"),
    "active_units": Label("active units"),
}
_TRUTH = ("matched_psnr", "type_accuracy_merged", "theta_error_median", "aspect_w1")
_DISTRIBUTION = ("mmd2_pca", "frechet_pca", "recall_pca", "coverage_pca", "auc_pca")
# What the chart of all methods shows, and that of images with known faults.
CHART = (*_TRUTH, *_DISTRIBUTION, "kl_oracle", "latent_auc_boosted", "copy_code")
CONTROL_CHART = (*_TRUTH, *_DISTRIBUTION, "precision_pca", "copy_image")
CONTROL_LABELS = {
    "shuffled": "conditions shuffled",
    "rotated": "rotated by 90°",
    "blurred": "blurred by 1 px",
    "shifted": "shifted by 1 px",
    "collapsed": "collapsed to 64 images",
    "copies": "copies of training images",
    "type_missing": "one type missing",
    "angles_missing": "a range of angles missing",
}
# The columns of training curves.
QUANTITIES = {
    "total": "loss",
    "reconstruction": "squared error a pixel",
    "kl": "KL, nats an image",
    "psnr": "PSNR, dB",
    "nll": "−log p(z), nats",
}


def label_of(metric: str) -> Label:
    """How any metric is shown."""
    return METRICS.get(metric, Label(metric))


def titled(metric: str) -> str:
    """A metric's label with its unit."""
    known = label_of(metric)
    return f"{known.label}, {known.unit}" if known.unit else known.label
