"""Which hardware runs the models. A choice of hardware is no hyperparameter: it comes from the environment and enters no hash."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from toycrystals.runtime.config import Precision
from toycrystals.runtime.errors import UserError

VARIABLE = "TOYCRYSTALS_DEVICE"


def available_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU; the environment variable ``TOYCRYSTALS_DEVICE`` (cpu, cuda, cuda:N) overrides.

    Raises `UserError` for a device that does not exist.
    """
    wanted = os.environ.get(VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"{VARIABLE}: got {wanted!r}, expected cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"{VARIABLE}: got {wanted!r}, but PyTorch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


def has_native_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` is bfloat16 where the hardware has it natively and float32 elsewhere."""
    if precision == "auto":
        return torch.bfloat16 if has_native_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Matrix products in `dtype`, weights and everything else in float32."""
    return torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """One line for the start of a training run: device, precision, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device.type} ({name}), {'bf16' if dtype == torch.bfloat16 else 'fp32'}"
