"""Products with packed weights: the numbers of float32, wherever packing loses nothing."""

from __future__ import annotations

import copy

import pytest
import torch

from components.engines.decoding import Loop
from components.engines.device import Device
from components.engines.linear import HalfLinear, has_fbgemm, linear


@pytest.mark.skipif(not has_fbgemm(), reason="needs an x86 processor with AVX2")
@pytest.mark.parametrize("rows", [1, 2, 6, 16])
def test_weights_that_float16_holds_are_packed(rows):
    generator = torch.Generator().manual_seed(rows)
    weight, bias = torch.randn(515, 64, generator=generator).half().float(), torch.randn(515, generator=generator)
    states = torch.randn(rows, 64, generator=generator)
    for offset in (None, bias):
        product = linear(weight, offset)
        assert isinstance(product, HalfLinear)
        torch.testing.assert_close(product(states), torch.nn.functional.linear(states, weight, offset))


@pytest.mark.skipif(not has_fbgemm(), reason="needs an x86 processor with AVX2")
def test_weights_of_eight_bits_are_close():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(515, 64, generator=generator), torch.randn(515, generator=generator)
    weight[3] = 0
    states = torch.randn(5, 64, generator=generator)
    exact, found = (linear(weight, bias, int8=int8)(states) for int8 in (False, True))
    assert not torch.equal(found, exact)
    assert float((found - exact).abs().max()) < 0.05 * float(exact.std()) * 8**0.5
    assert torch.equal(found[:, 3], exact[:, 3])


@pytest.mark.parametrize(
    "weight",
    [
        torch.full((4, 8), 0.1),
        torch.full((4, 8), 1e6),
        torch.full((4, 8), 1e-9),
        torch.ones(4, 8, dtype=torch.bfloat16),
    ],
    ids=["too fine", "too large", "too small", "another dtype"],
)
def test_other_weights_stay_as_they_are(weight):
    states = torch.ones(2, 8, dtype=weight.dtype)
    assert torch.equal(linear(weight, None)(states), torch.nn.functional.linear(states, weight))


def test_a_model_of_such_weights_writes_the_same(engine, speechlike_clip):
    model = copy.deepcopy(engine.model).half().float()
    features = engine.extractor(speechlike_clip.samples, sampling_rate=16_000, return_tensors="pt")["input_features"]
    prompt = engine.special.prompt("en", timestamps=True)
    with torch.no_grad():
        expected = model.generate(features, return_timestamps=True)[0].tolist()
        loop = Loop(model, device=Device("cpu"))
        states = model.get_encoder()(features).last_hidden_state
        tokens = loop.decode(states, prompt, timestamps=True, max_length=448).tokens
    assert tokens[:-1] == expected
    assert len(expected) > 1
