"""Matrix products of a decoder's few rows, by the kernel that reads the weights fastest."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]
"""Rows of shape ``(n, in)`` -> ``(n, out)``."""

MAX_INT8 = 127


def linear(weight: torch.Tensor, bias: torch.Tensor | None, *, int8: bool = False) -> Linear:
    """``x @ weight.T + bias`` for a few rows at a time; ``weight`` of shape ``(out, in)``.

    A decoder's step is bound by the reading of its weights. On a CPU, float32 weights that float16 holds exactly (most
    published checkpoints were released in float16) are packed so: FBGEMM reads half the bytes, widens them in
    registers and computes in float32, so the numbers are those of float32 but for the order of the sums. It needs
    hardly more time for six rows than for one, which PyTorch's own product does. The packed copy takes half of the
    weight's memory.

    ``int8``: round the weights to eight bits, with a scale for each row, and what they are multiplied with to seven,
    with a scale for each call. Needs ``has_fbgemm()``.
    """
    if int8:
        packed = torch.ops.quantized.linear_prepack(_rounded(weight), bias)
        return lambda rows: torch.ops.quantized.linear_dynamic(rows, packed, reduce_range=True)
    if weight.is_cpu and weight.dtype == torch.float32 and has_fbgemm() and _fits_half(weight):
        packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
        return functools.partial(_packed, packed)
    return lambda rows: functional.linear(rows, weight, bias)


def _packed(packed: torch.ScriptObject, rows: torch.Tensor) -> torch.Tensor:
    return torch.ops.quantized.linear_dynamic_fp16(rows, packed)


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    scales = (weight.abs().amax(dim=1).double() / MAX_INT8).clamp(min=torch.finfo(torch.float32).tiny)
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():  # they are to go from PyTorch one day; its version is pinned
        warnings.simplefilter("ignore", UserWarning)
        return torch.quantize_per_channel(weight.contiguous(), scales, zeros, axis=0, dtype=torch.qint8)


def _fits_half(weight: torch.Tensor) -> bool:
    return torch.equal(weight.half().float(), weight)


@functools.cache
def has_fbgemm() -> bool:
    """Whether PyTorch's products with packed weights are there: on x86 with AVX2."""
    engines = {"fbgemm", "x86"}
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.backends.quantized.engine in engines
