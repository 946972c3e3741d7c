"""Kernels of one decoder layer for one token, before and after PyTorch's compiler joins them, by ``torch.profiler``.

On the CPU twin of the captured graph, with random weights of large-v2's width: operations that compute, each of which
CUDA would launch as one kernel or more. On a GPU the compiler also writes the products with one row itself, and joins
those with their neighbours; here they stay calls of a library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

from components.engines import device as devices
from components.engines.decoding import _Layer
from components.engines.fusion import Fused
from components.engines.linear import linear
from tests.benchmarks import common

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.autograd.profiler_util import FunctionEvent

WIDTH, HEADS, FEED_FORWARD, SLOTS, FRAMES = 1280, 20, 5120, 448, 1500
COMPUTING = (
    "aten::add aten::add_ aten::addmm aten::addmv aten::bmm aten::copy_ aten::gelu aten::index_copy_ aten::mm aten::mv "
    "aten::native_layer_norm aten::_scaled_dot_product_flash_attention_for_cpu mkl::_mkl_linear "
    "mkldnn::_linear_pointwise"
).split()
"""Operations that launch something; what they call themselves is part of them."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=common.Path, default=common.RESULTS)
    chosen = options.parse_args()
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=WIDTH, decoder_attention_heads=HEADS, decoder_ffn_dim=FEED_FORWARD, attn_implementation="sdpa"
    )
    with torch.no_grad():
        layer = _Layer(WhisperDecoderLayer(config, layer_idx=0).eval(), linear)
        before = _kernels(_Layer.forward, layer)
        after = _kernels(Fused(_Layer.forward, {"cpp.enable_kernel_profile": True}), layer)
    result = {
        "benchmark": "kernels",
        "of": "one layer of large-v2's width, one token, on the CPU",
        "before": {"count": sum(before.values()), "kernels": before},
        "after": {"count": sum(after.values()), "kernels": after},
        "machine": devices.machine().model_dump(mode="json"),
    }
    text = json.dumps(result, indent=2)
    print(text)
    (chosen.results / "kernels.json").write_text(text + "\n")
    return 0


def _kernels(pass_layer: Callable[..., torch.Tensor], layer: _Layer) -> Counter[str]:
    hidden, head = torch.randn(1, WIDTH), WIDTH // HEADS
    caches = torch.zeros(2, 1, HEADS, SLOTS, head), torch.randn(2, 1, HEADS, FRAMES, head)
    arguments = layer, hidden, caches, torch.tensor([7]), SLOTS, torch.zeros(1, SLOTS)
    for _ in range(2):
        pass_layer(*arguments)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        pass_layer(*arguments)
    return Counter(event.name for event in profiler.events() if _computes(event) and not _within(event))


def _computes(event: FunctionEvent) -> bool:
    return event.name in COMPUTING or event.name.startswith("graph_")


def _within(event: FunctionEvent) -> bool:
    """Whether it is part of another that counts."""
    parent = event.cpu_parent
    return parent is not None and (_computes(parent) or _within(parent))


if __name__ == "__main__":
    sys.exit(main())
