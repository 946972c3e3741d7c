"""The device: what auto means, and what the stamp says."""

from __future__ import annotations

import _ctypes
import importlib.metadata
import shutil
import sys

import pytest
import torch

from components.engines import device as devices
from components.engines.device import Device


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("auto", "cuda", torch.float16),
        ("auto", "cpu", torch.float32),
        ("auto", "mps", torch.float32),
        ("int8", "cpu", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float32", "cuda", torch.float32),
    ],
)
def test_one_dtype_for_all_lanes(name, kind, dtype):
    assert devices.resolve_dtype(name, Device(kind)) is dtype


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "candidates"),
    [
        ("auto", "cuda", torch.float16, ("flash_attention_2", "sdpa")),
        ("auto", "cuda", torch.float32, ("sdpa",)),
        ("auto", "cpu", torch.bfloat16, ("sdpa",)),
        ("eager", "cuda", torch.float16, ("eager",)),
    ],
)
def test_attention_candidates(name, kind, dtype, candidates):
    assert devices.attention_candidates(name, Device(kind), dtype) == candidates


def test_the_stamp():
    machine = devices.machine(processes=2)
    assert machine.device == devices.detect().kind
    assert machine.device_name
    assert machine.libraries["torch"] == importlib.metadata.version("torch")
    assert machine.threads == torch.get_num_threads()
    assert machine.processes == 2


def test_the_device_is_pytorchs_best_also_where_pytorch_is_not_asked():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert devices.detect() == Device(best)


def test_memory_of_a_cpu():
    cpu = Device("cpu")
    assert cpu.peak_memory_bytes() is None
    assert 10**7 < cpu.available_memory_bytes() < 10**14
    cpu.synchronize()
    cpu.reset_peak_memory()
    cpu.release_memory()


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError(), False),
    ],
)
def test_memory_that_ran_out_is_recognised(error, out_of_memory):
    assert devices.is_out_of_memory(error) == out_of_memory


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert devices.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("environ", "count", "seen"),
    [
        ({}, 2, None),
        ({"LOCAL_RANK": "1"}, 0, None),
        ({"LOCAL_RANK": "1"}, 2, "1"),
        ({"LOCAL_RANK": "2"}, 2, "0"),
        ({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4, GPU-7"}, 2, "GPU-7"),
    ],
)
def test_each_process_of_several_sees_one_gpu(monkeypatch, environ, count, seen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    devices.take_own_gpu(environ)
    assert environ.get("CUDA_VISIBLE_DEVICES") == seen


def test_off_zero_gpu_a_function_is_left_alone():
    def function() -> None: ...

    assert not devices.zero_gpu()
    assert devices.gpu(60)(function) is function


def test_a_missing_cublas_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(devices, "CUBLAS_LIBRARIES", ("libcublas.so.nowhere",))
    assert "pip install nvidia-cublas-cu12==" in Device("cuda").load_cublas()
    assert Device("cpu").load_cublas() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux looks libraries up this way")
def test_cublas_is_loaded_from_its_package(tmp_path, monkeypatch):
    described = tmp_path / "nvidia_cublas_cu12-12.9.1.4.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cublas-cu12\nVersion: 12.9.1.4\n")
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    shutil.copy(_ctypes.__file__, folder / "libexample.so.12")  # any library will do
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(devices, "CUBLAS_LIBRARIES", ("libexample.so.12",))
    assert Device("cuda").load_cublas() == ""
