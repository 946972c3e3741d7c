"""Matrix products of a decoder's few rows, by the kernel that reads the weights fastest."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import nn
from torch.nn import functional

MAX_INT8 = 127


class Linear(nn.Module):
    """``rows @ weight.T + bias``: rows of shape ``(n, in)`` -> ``(n, out)``."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.bias is not None and torch.compiler.is_compiling():
            # As a product and a sum: the compiler joins both with what comes before and after.
            return functional.linear(rows, self.weight) + self.bias
        return functional.linear(rows, self.weight, self.bias)


class HalfLinear(nn.Module):
    """The same, its weight packed in float16, computed in float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(rows, self.packed)


class Int8Linear(nn.Module):
    """The same, its weight in eight bits, the rows in seven."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack(_rounded(weight), bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(rows, self.packed, reduce_range=True)


def linear(weight: torch.Tensor, bias: torch.Tensor | None, *, int8: bool = False) -> nn.Module:
    """``rows @ weight.T + bias`` for a few rows at a time; ``weight`` of shape ``(out, in)``.

    A decoder's step is bound by the reading of its weights. On a CPU, float32 weights that float16 holds exactly (most
    published checkpoints were released in float16) are packed so: FBGEMM reads half the bytes, widens them in
    registers and computes in float32, so the numbers are those of float32 but for the order of the sums. It needs
    hardly more time for six rows than for one, which PyTorch's own product does. The packed copy takes half of the
    weight's memory.

    ``int8``: round the weights to eight bits, with a scale for each row, and what they are multiplied with to seven,
    with a scale for each call. Needs ``has_fbgemm()``.
    """
    if int8:
        return Int8Linear(weight, bias)
    if weight.is_cpu and weight.dtype == torch.float32 and has_fbgemm() and _fits_half(weight):
        return HalfLinear(weight, bias)
    return Linear(weight, bias)


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
