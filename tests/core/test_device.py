import os

import pytest
import torch

from toycrystals.core import device as module
from toycrystals.core.device import VARIABLE, autocast, available_cores, describe, has_native_bf16, pick_device, resolve_precision
from toycrystals.runtime.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7} if process == 0 else set(), raising=False)
    assert available_cores() == 3


@pytest.mark.parametrize(("counted", "expected"), [(8, 8), (None, 1)])
def test_cores_are_counted_where_no_process_is_bound_to_some(counted, expected, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert available_cores() == expected


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that PyTorch sees so many CUDA devices, and that nobody asked for one."""

    def pretend(n):
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return pretend


@pytest.mark.parametrize(("n", "expected"), [(0, CPU), (1, CUDA)])
@pytest.mark.parametrize("empty", [False, True])
def test_cuda_is_taken_where_there_is_one(n, expected, empty, gpus, monkeypatch):
    gpus(n)
    if empty:
        monkeypatch.setenv(VARIABLE, "")
    assert pick_device() == expected


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_the_environment_overrides(wanted, gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv(VARIABLE, wanted)
    assert pick_device() == torch.device(wanted)


@pytest.mark.parametrize("wanted", ["banana", "cuda:x", "cuda:-1", "cpu,cuda", " ", "meta", "mps", "xpu"])
def test_nonsense_is_refused_by_name(wanted, gpus, monkeypatch):
    gpus(1)
    monkeypatch.setenv(VARIABLE, wanted)
    with pytest.raises(UserError, match=f"^{VARIABLE}: got {wanted!r}, expected cpu, cuda or cuda:N$"):
        pick_device()


@pytest.mark.parametrize(("wanted", "n"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:2", 2)])
def test_a_device_that_does_not_exist_is_refused(wanted, n, gpus, monkeypatch):
    gpus(n)
    monkeypatch.setenv(VARIABLE, wanted)
    with pytest.raises(UserError, match=f"^{VARIABLE}: got '{wanted}', but PyTorch sees {n} CUDA devices; use cpu$"):
        pick_device()


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("precision", "with_native", "without"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16", torch.bfloat16, torch.bfloat16),
        ("auto", torch.bfloat16, torch.float32),
    ],
)
def test_precision_is_as_asked_and_auto_is_as_the_hardware(precision, with_native, without, native, device, monkeypatch):
    monkeypatch.setattr(module, "has_native_bf16", lambda asked: asked == device and native)
    assert resolve_precision(precision, device) == (with_native if native else without)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),
    ],
)
def test_native_bf16_of_a_cpu_is_read_from_its_instruction_set(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_native_bf16(CPU) is expected


@pytest.mark.parametrize("native", [False, True])
def test_emulated_bf16_of_a_gpu_does_not_count(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert has_native_bf16(CUDA) is native


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_products_and_not_weights(dtype):
    layer = torch.nn.Linear(3, 2)
    with autocast(CPU, dtype):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32
    assert layer(torch.ones(1, 3)).dtype == torch.float32


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "fp32"), (torch.bfloat16, "bf16")])
def test_description_names_device_threads_and_precision(dtype, name):
    assert describe(CPU, dtype) == f"cpu ({torch.get_num_threads()} threads), {name}"
