"""What is measured: the names of all measures, what they are called in tables, and which way is better.

An area under a ROC curve is best near what real images score: one far below 0.5 tells the sets apart as well, as where images
of the one set are twins of images of the other.
"""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "near"]
# Verdicts on a value: it is no worse than a draw of real images would be; there was nothing to measure.
AT_FLOOR, NO_IMAGE = "at floor", "no valid image"


@dataclass(frozen=True)
class Metric:
    """`better`: higher, lower, or near what real images score. `group` says what it compares."""

    label: str
    better: Better
    group: Literal["truth", "distribution", "latent", "copying", "swap"]
    unit: str = ""
    log: bool = False


_VIEWS = {"pca": "PCA", "network": "network"}
_OF_VIEWS: tuple[tuple[str, str, Better, bool], ...] = (
    ("mmd2", "MMD²", "lower", True),
    ("frechet", "Fréchet distance", "lower", True),
    ("sliced_w2", "sliced Wasserstein", "lower", True),
    ("precision", "precision", "higher", False),
    ("recall", "recall", "higher", False),
    ("density", "density", "near", False),
    ("coverage", "coverage", "higher", False),
)

METRICS: dict[str, Metric] = {
    "matched_psnr": Metric("matched PSNR", "higher", "truth", "dB"),
    "matched_correlation": Metric("matched correlation", "higher", "truth"),
    "matched_ssim": Metric("matched SSIM", "higher", "truth"),
    "type_accuracy": Metric("type accuracy, strict", "higher", "truth"),
    "type_accuracy_merged": Metric("type accuracy, near-squares merged", "higher", "truth"),
    "theta_error_median": Metric("angle error, median", "lower", "truth", "°", log=True),
    "theta_error_p95": Metric("angle error, 95th percentile", "lower", "truth", "°", log=True),
    "spacing_error_median": Metric("spacing error, median", "lower", "truth", "relative", log=True),
    "vacancy_error_mean": Metric("vacancy error, mean", "lower", "truth"),
    "aspect_w1": Metric("aspect W1", "lower", "truth", log=True),
    "reason": Metric("images by reason", "near", "truth"),
    "valid": Metric("images that are a lattice about the centre", "higher", "truth"),
    "nearest_ncc": Metric("correlation with the nearest lattice", "higher", "truth"),
    "type_frequency": Metric("type frequency", "near", "truth"),
    "type_tv": Metric("type frequencies, total variation", "lower", "truth"),
    "found_theta_w1": Metric("angles found, W1", "lower", "truth", "°", log=True),
    "found_aspect_w1": Metric("aspects found, W1", "lower", "truth", log=True),
    "found_spacing_w1": Metric("spacings found, W1", "lower", "truth", "px", log=True),
    "found_vacancy_w1": Metric("vacancies found, W1", "lower", "truth", log=True),
    **{
        f"{name}_{view}": Metric(f"{label}, {title}", better, "distribution", log=log)
        for view, title in _VIEWS.items()
        for name, label, better, log in _OF_VIEWS
    },
    "auc_linear": Metric("AUC, linear", "near", "distribution"),
    "auc_boosted": Metric("AUC, boosted trees", "near", "distribution"),
    "auc_cnn": Metric("AUC, CNN", "near", "distribution"),
    "mass_w1": Metric("mass W1", "lower", "distribution", log=True),
    "fft_radial_l2": Metric("radial spectrum L2", "lower", "distribution", log=True),
    "latent_mmd2": Metric("latent MMD²", "lower", "latent", log=True),
    "latent_frechet": Metric("latent Fréchet distance", "lower", "latent", log=True),
    "latent_sliced_w2": Metric("latent sliced Wasserstein", "lower", "latent", log=True),
    "latent_auc_linear": Metric("latent AUC, linear", "near", "latent"),
    "latent_auc_boosted": Metric("latent AUC, boosted trees", "near", "latent"),
    "latent_energy_score": Metric("conditional energy score", "lower", "latent", log=True),
    "copy_code": Metric("codes close to a training code", "lower", "copying"),
    "copy_image": Metric("images close to a training image", "lower", "copying"),
    "swap_decoder_type": Metric("swapped: type of the decoder's condition", "near", "swap"),
    "swap_code_type": Metric("swapped: type of the code's condition", "near", "swap"),
    "swap_decoder_theta": Metric("swapped: angle error to the decoder's condition, median", "near", "swap", "°", log=True),
    "swap_code_theta": Metric("swapped: angle error to the code's condition, median", "near", "swap", "°", log=True),
    "rate": Metric("KL(q(z|x) || p(z))", "near", "latent", "nats"),
    "mutual_information_low": Metric("I(x; z), lower bound", "near", "latent", "nats"),
    "mutual_information_high": Metric("I(x; z), upper bound", "near", "latent", "nats"),
    "aggregate_kl_low": Metric("KL(q(z) || p(z)), lower bound", "near", "latent", "nats"),
    "aggregate_kl_high": Metric("KL(q(z) || p(z)), upper bound", "near", "latent", "nats"),
    "active_units": Metric("active units", "near", "latent"),
}

# Declared before any result: does an image show what was asked for, and do the images together have the right distribution?
PRIMARY = ("matched_psnr", "mmd2_pca")
# What `dvc exp show` and `dvc metrics diff` have a column of, under names that leave room for the numbers.
HEADLINE = {
    "psnr": "matched_psnr",
    "mmd2": "mmd2_pca",
    "ncc": "nearest_ncc",
    "type": "type_accuracy_merged",
    "aspect": "aspect_w1",
    "auc": "latent_auc_boosted",
    "copied": "copy_code",
}
# What is drawn of the controls: those that compare images.
CONTROL_CHART = (
    "matched_psnr",
    "type_accuracy_merged",
    "theta_error_median",
    "aspect_w1",
    "mmd2_pca",
    "mmd2_network",
    "frechet_pca",
    "sliced_w2_pca",
    "precision_pca",
    "recall_pca",
    "coverage_pca",
    "auc_boosted",
    "auc_cnn",
    "copy_image",
    "mass_w1",
    "fft_radial_l2",
)
# What the chart of all methods shows.
CHART = (
    *PRIMARY,
    "type_accuracy_merged",
    "theta_error_median",
    "aspect_w1",
    "mmd2_network",
    "frechet_pca",
    "sliced_w2_pca",
    "recall_pca",
    "coverage_network",
    "auc_boosted",
    "auc_cnn",
    "latent_mmd2",
    "latent_auc_boosted",
    "copy_code",
    "copy_image",
)
