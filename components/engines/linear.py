"""Matrix products of a decoder's few rows, by the kernel that reads the weights fastest and keeps the numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]
"""Rows of shape ``(n, in)`` -> ``(n, out)``."""


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    """``x @ weight.T + bias`` for a few rows at a time; ``weight`` of shape ``(out, in)``.

    A decoder's step is bound by the reading of its weights. On a CPU, float32 weights that float16 holds exactly (most
    published checkpoints were released in float16) are packed so: FBGEMM reads half the bytes, widens them in
    registers and computes in float32, so the numbers are those of float32 but for the order of the sums. It needs no
    more time for six rows than for one, which PyTorch's own product does. The packed copy takes half of the weight's
    memory.
    """
    if weight.is_cpu and weight.dtype == torch.float32 and _has_fbgemm() and _fits_half(weight):
        packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
        return functools.partial(_packed, packed)
    return lambda rows: functional.linear(rows, weight, bias)


def _packed(packed: torch.ScriptObject, rows: torch.Tensor) -> torch.Tensor:
    return torch.ops.quantized.linear_dynamic_fp16(rows, packed)


def _fits_half(weight: torch.Tensor) -> bool:
    return torch.equal(weight.half().float(), weight)


@functools.cache
def _has_fbgemm() -> bool:
    """Whether PyTorch's products with packed weights are there: on x86 with AVX2."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.backends.quantized.engine in {
        "fbgemm",
        "x86",
    }
