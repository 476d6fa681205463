"""What the stages that measure images share."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from stages.loading import load_samples
from stages.process import begin_worker, workers_start
from toycrystals.artifacts import load_tensors
from toycrystals.config import Evaluate
from toycrystals.dataset import DatasetSpec
from toycrystals.errors import UserError
from toycrystals.metrics.features import FeatureExtractor
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.summary import ImageJudge, ImageSettings
from toycrystals.metrics.truth import Measures

Images = NDArray[np.uint8]
# A worker holds about a gigabyte.
_MOST_WORKERS = 8
_judges: list[ImageJudge] = []


def load_judge(heldout: Path, train: Path, features: Path, settings: Evaluate) -> ImageJudge:
    """The judge of images made for the conditions in `heldout`."""
    held_out, spec = load_samples(heldout, "held-out list")
    training, _ = load_samples(train, "dataset")
    image_settings = ImageSettings(settings.theta_step, settings.aspect_step, settings.neighbours, settings.candidates)
    return ImageJudge(spec, held_out, training, load_extractor(features, spec), image_settings)


def load_extractor(path: Path, spec: DatasetSpec) -> FeatureExtractor:
    """The feature extractor for data of `spec`."""
    extractor = FeatureExtractor.restore(*load_tensors(path, "feature extractor"))
    for name in ("variant", "n_types", "image_size"):
        made, wanted = getattr(extractor.config, name), getattr(spec, name)
        if made != wanted:
            raise UserError(f"{path}: made for {name} = {made}, expected {wanted}; run `dvc repro`")
    return extractor


def judge_all(
    label: str, sets: Sequence[Images], heldout: Path, train: Path, features: Path, settings: Evaluate
) -> Iterator[Measures]:
    """The measures of each set of images, without bootstrap, in order; in as many processes as this one may have threads.

    Much of the work is of one thread, so processes of one thread each do it in two thirds of the time.
    """
    workers = min(torch.get_num_threads(), _MOST_WORKERS, len(sets))
    # Before they start, so that no library takes more: a fork would inherit locks of threads that it has not.
    os.environ["OMP_NUM_THREADS"] = "1"
    judge = partial(_judge, heldout, train, features, settings)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as executor:
        try:
            with workers_start():
                results = executor.map(judge, sets)
            yield from tqdm(results, label, len(sets), unit="set", disable=not sys.stderr.isatty(), leave=False)
        except BrokenProcessPool:
            raise UserError(f"{label}: a worker was killed, perhaps for want of memory; free some and run it again") from None
        except BaseException:
            # What the workers have begun is for nothing; leaving the block waits for them.
            for process in active_children():
                process.terminate()
            raise


def _begin() -> None:
    begin_worker()
    torch.set_num_threads(1)


def _judge(heldout: Path, train: Path, features: Path, settings: Evaluate, images: Images) -> Measures:
    # Here rather than when the worker starts, where an error would break the pool and not be told.
    if not _judges:
        _judges.append(load_judge(heldout, train, features, settings))
    judge = _judges[0]
    return judge(images, bootstrap_weights(judge.held_out.type, 0), answers=True).measures
