"""One thread a process: tests run in several processes, and threads that wait for each other across them crawl."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)
