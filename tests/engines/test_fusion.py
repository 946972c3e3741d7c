"""Kernels that PyTorch's compiler joins: the same tokens, one compilation for all layers, and what is done without."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest
import torch

from components.engines.decoding import Loop, _Layer
from components.engines.device import Device
from components.engines.fusion import Fused

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on a CPU")


@dataclass(frozen=True)
class RunningDevice(Device):
    """Runs where CUDA would launch a captured graph."""

    def graphs_unavailable(self) -> str:
        return ""

    def capture(self, function):
        function()
        return function


@needs_compiler
def test_fused_layers_write_the_same_tokens(engine, speechlike_clip):
    features = engine.extractor(speechlike_clip.samples, sampling_rate=16_000, return_tensors="pt")["input_features"]
    config = engine.model.generation_config
    prompt = [config.decoder_start_token_id]
    torch._dynamo.reset()
    with torch.no_grad():
        states = engine.encoder(features).last_hidden_state
        expected = Loop(engine.model, device=Device("cpu")).decode(states, prompt, timestamps=True, max_length=60)
        loop = Loop(engine.model, device=RunningDevice("cpu"), graphs=True)
        loop.teacher.pass_layer = Fused(_Layer.forward, {})
        found = loop.decode(states, prompt, timestamps=True, max_length=60)
    assert loop.fusion_failure == ""
    assert found.tokens == expected.tokens
    assert len(loop.teacher.layers) == 4
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled == 1, "the prompt and every later token are one token: all layers and rounds share it"


def test_a_compiler_that_fails_is_told_and_done_without():
    fused, rows = Fused(_uncompilable, {}), torch.zeros(2)
    for _ in range(2):
        assert torch.equal(fused(rows), rows + 1)
    assert fused.failure
    assert "\n" not in fused.failure


@torch.compiler.disable
def _refuse():
    raise RuntimeError("cannot compile this")


def _uncompilable(rows):
    if torch.compiler.is_compiling():
        _refuse()
    return rows + 1
