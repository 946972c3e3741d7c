"""Our own loop: the tokens of ``generate``, greedy and with drafts, with and without fixed shapes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from components.core.caller import Caller
from components.core.errors import Cancelled
from components.core.settings import Settings
from components.engines.base import DecodingOptions
from components.engines.decoding import GraphedEncoder, Loop, TokenRules
from components.engines.device import Device
from components.engines.pool import Pool
from components.engines.speculative import SpeculativeEngine
from components.engines.whisper import WhisperEngine

CPU = Device("cpu")


@dataclass(frozen=True)
class ReplayingDevice(Device):
    """Captures as CUDA does, on the CPU: a replay runs the operations that were recorded, on the tensors of then.

    What Python decides is decided once, what was made while recording is not made again, a tensor that was replaced
    since is not seen, and a read-back while recording is an error.
    """

    def graphs_unavailable(self) -> str:
        return ""

    def capture(self, function):
        for _ in range(3):
            function()
        return make_fx(lambda: function())()  # noqa: PLW0108 - it counts the arguments of methods and partials wrongly


@pytest.fixture(scope="module")
def student(student_lane):
    return WhisperEngine(student_lane, Settings(), CPU).model


@pytest.fixture(scope="module")
def states(engine, speechlike_clip):
    """Encoder output of the clip, of other speech, and of noise: they lead to different texts."""
    found = []
    for samples in (speechlike_clip.samples, speechlike_clip.samples[::-1].copy() * 3, speechlike_clip.samples[::2]):
        features = engine.extractor(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            found.append(engine.encoder(features["input_features"]).last_hidden_state)
    return found


def prompt_of(engine, timestamps):
    config = engine.model.generation_config
    return [config.decoder_start_token_id] + [config.no_timestamps_token_id] * (not timestamps)


def generated(engine, states, *, timestamps, **options):
    from transformers.modeling_outputs import BaseModelOutput

    sequence = engine.model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        return_timestamps=timestamps,
        force_unique_generate_call=True,
        **options,
    )
    return sequence[0, 2 - timestamps :].tolist()


@pytest.mark.parametrize("timestamps", [False, True])
def test_the_tokens_of_generate(engine, student, states, timestamps):
    prompt = prompt_of(engine, timestamps)
    expected = [generated(engine, each, timestamps=timestamps) for each in states]
    for graphs in (False, True):
        for drafts in (0, 1, 5):
            assistant = student if drafts else None
            with torch.no_grad():
                device = ReplayingDevice("cpu")
                loop = Loop(engine.model, assistant, device=device, graphs=graphs, draft_tokens=drafts)
                for each, tokens in zip(states, expected, strict=True):
                    for limit in (447, 1, 2, 7):
                        max_length = len(prompt) + limit
                        found = loop.decode(each, prompt, timestamps=timestamps, max_length=max_length)
                        assert found.tokens == tokens[:limit]
    assert len({tuple(generated(engine, each, timestamps=timestamps)) for each in states}) > 1


@pytest.mark.parametrize("timestamps", [False, True])
def test_windows_side_by_side_write_what_each_writes_alone(engine, states, timestamps):
    """Of different lengths, so that those still going are moved together; more, and fewer, than the time before."""
    prompt, options = prompt_of(engine, timestamps), {"timestamps": timestamps, "max_length": 448}
    loop = Loop(engine.model, device=CPU)
    with torch.no_grad():
        alone = [loop.decode(each, prompt, **options).tokens for each in states]
        for order in ([0, 1, 2, 0, 2], [2, 1], [1]):
            found = loop.decode_batch(torch.cat([states[index] for index in order]), prompt, **options)
            assert [each.tokens for each in found] == [alone[index] for index in order]
        (short,) = loop.decode_batch(states[0], prompt, timestamps=timestamps, max_length=len(prompt) + 3)
        assert short.tokens == alone[0][:3]


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_draft_that_came_with_the_request_saves_passes_and_changes_nothing(engine, student, states, timestamps):
    prompt, options = prompt_of(engine, timestamps), {"timestamps": timestamps, "max_length": 448}
    with torch.no_grad():
        expected = Loop(engine.model, device=CPU).decode(states[0], prompt, **options).tokens
        for assistant in (None, student):
            loop = Loop(engine.model, assistant, device=CPU)
            for draft in (expected, expected[:4], [*expected[:4], 5, 6, 7], [9], [3] * 446):
                found = loop.decode(states[0], prompt, draft=draft, **options)
                assert found.tokens == expected
            assert loop.decode(states[0], prompt, draft=expected, **options).passes == 1


def test_drafts_from_a_shortlist_change_nothing(engine, student, states):
    prompt, special = prompt_of(engine, timestamps=True), engine.special
    every = torch.arange(engine.model.config.vocab_size)
    with torch.no_grad():
        expected = [
            Loop(engine.model, device=CPU).decode(each, prompt, timestamps=True, max_length=448) for each in states
        ]
        for words in (every[:0], every[60:90]):
            ids = every[(every >= special.end) | torch.isin(every, words)]
            loop = Loop(engine.model, student, device=CPU, draft_ids=ids)
            assert len(loop.student.ids) == len(ids)
            for each, greedy in zip(states, expected, strict=True):
                found = loop.decode(each, prompt, timestamps=True, max_length=448)
                assert found.tokens == greedy.tokens
                assert 0 <= found.accepted < len(greedy.tokens)


def test_padding_need_not_be_heard_for_drafts(engine, student, states):
    prompt, loop = prompt_of(engine, timestamps=True), Loop(engine.model, student, device=CPU)
    with torch.no_grad():
        whole = loop.decode(states[0], prompt, timestamps=True, max_length=448)
        part = loop.decode(states[0], prompt, timestamps=True, max_length=448, content_s=3.0)
    assert part.tokens == whole.tokens
    assert (loop.teacher.frames, loop.student.frames) == (1500, 200)


def test_a_window_of_nan_leaves_nothing_behind(engine, student, states):
    """What half precision may do to one window must not reach the next through slots that are masked."""
    prompt = prompt_of(engine, timestamps=True)
    with torch.no_grad():
        for assistant in (None, student):
            loop = Loop(engine.model, assistant, device=ReplayingDevice("cpu"), graphs=True)
            expected = loop.decode(states[0], prompt, timestamps=True, max_length=448).tokens
            loop.decode(torch.full_like(states[0], torch.nan), prompt, timestamps=True, max_length=448)
            assert loop.teacher.own.isnan().any()
            assert loop.decode(states[0], prompt, timestamps=True, max_length=448).tokens == expected


def test_a_model_that_never_ends_fills_every_slot(engine, student, states):
    prompt = prompt_of(engine, timestamps=False)
    expected = generated(engine, states[0], timestamps=False, suppress_tokens=[engine.special.end])
    config = copy.deepcopy(engine.model.generation_config)
    with torch.no_grad():
        for graphs in (False, True):
            loop = Loop(engine.model, student, device=ReplayingDevice("cpu"), graphs=graphs)
            loop.generation_config = copy.deepcopy(config)
            loop.generation_config.suppress_tokens = [engine.special.end]
            found = loop.decode(states[0], prompt, timestamps=False, max_length=448)
            assert len(found.tokens) == 446
            assert found.tokens == expected


def test_a_perfect_student_saves_five_passes_of_six(engine, states):
    with torch.no_grad():
        loop = Loop(engine.model, engine.model, device=CPU, draft_tokens=5, sure=0)
        prompt = prompt_of(engine, timestamps=True)
        found = loop.decode(states[0], prompt, timestamps=True, max_length=448, ends=False)
        assert len(found.tokens) == 447
        assert found.accepted == found.drafted
        assert found.passes == -(-447 // 6)
        greedy = Loop(engine.model, device=CPU).decode(states[0], prompt, timestamps=True, max_length=448, ends=False)
        assert (greedy.tokens, greedy.passes, greedy.drafted) == (found.tokens, 447, 0)


def test_each_token_has_its_time(engine, student, states):
    prompt, ticks = prompt_of(engine, timestamps=True), iter(range(1000))
    with torch.no_grad():
        for assistant, graphs in ((None, False), (student, False), (None, True)):
            loop = Loop(engine.model, assistant, device=ReplayingDevice("cpu"), graphs=graphs)
            found = loop.decode(states[0], prompt, timestamps=True, max_length=448, clock=lambda: float(next(ticks)))
            assert len(found.times_s) == len(found.tokens)
            assert found.times_s == sorted(found.times_s)
            if assistant is None and not graphs:
                assert len(set(found.times_s)) == len(found.tokens)


def test_an_unsure_draft_is_the_last_of_its_round(engine, student, states):
    """So is the end. The tokens stay, and the surer a draft must be, the fewer there are and the more of them right."""
    prompt = prompt_of(engine, timestamps=True)
    found = []
    with torch.no_grad():
        for sure in (0.0, 0.4, 1.1):
            loop = Loop(engine.model, student, device=CPU, sure=sure)
            found.append([loop.decode(each, prompt, timestamps=True, max_length=448) for each in states])
        own = Loop(engine.model, engine.model, device=CPU, sure=0).decode(
            states[0], prompt, timestamps=True, max_length=448
        )
    tokens = [[each.tokens for each in runs] for runs in found]
    assert tokens[0] == tokens[1] == tokens[2]
    drafted, passes = ([sum(getattr(each, name) for each in runs) for runs in found] for name in ("drafted", "passes"))
    assert drafted[0] > drafted[1] > drafted[2]
    assert passes[0] <= passes[1] <= passes[2] == drafted[2]  # one a round
    assert own.tokens[-1] == engine.special.end
    assert own.accepted == own.drafted  # none was written after the end


@pytest.mark.parametrize("seed", range(40))
def test_the_rules_are_transformers_processors(seed):
    """On random logits and histories, of which the rules themselves make the next token."""
    from transformers import GenerationConfig
    from transformers.generation.logits_process import (
        SuppressTokensAtBeginLogitsProcessor,
        SuppressTokensLogitsProcessor,
        WhisperTimeStampLogitsProcessor,
    )

    random = torch.Generator().manual_seed(seed)
    config = GenerationConfig(
        eos_token_id=20,
        no_timestamps_token_id=24,
        suppress_tokens=[3, 21, 22],
        begin_suppress_tokens=[1, 20],
        max_initial_timestamp_index=[None, 4][seed % 2],
    )
    processors = [
        SuppressTokensAtBeginLogitsProcessor([1, 20], begin_index=2),
        SuppressTokensLogitsProcessor([3, 21, 22]),
        WhisperTimeStampLogitsProcessor(config, begin_index=2),
    ]
    rules = TokenRules(config, prompt_length=2, timestamps=True, ids=torch.arange(60))
    tokens, every = torch.zeros(40, dtype=torch.long), []
    tokens[:2] = torch.tensor([21, 22])
    for position in range(2, 38):
        logits = torch.randn(1, 60, generator=random) * 3
        scores = logits.clone()
        for processor in processors:
            scores = processor(tokens[None, :position], scores)
        choice, _ = rules.choose(logits, tokens[None], torch.tensor([position]), begins=position == 2)
        assert int(choice) == int(scores.argmax())
        tokens[position] = choice
        every.append(logits)
    assert len(set(tokens.tolist())) > 3
    # All places at once, as in a pass over drafts.
    choices, _ = rules.choose(torch.cat(every), tokens.expand(36, -1), torch.arange(2, 38), begins=1)
    assert choices.tolist() == tokens[2:38].tolist()


@pytest.fixture(scope="module")
def speculative_lane(teacher_lane, student_lane):
    return replace(teacher_lane, lane_id="speculative", backend="speculative", assistant=student_lane.checkpoint)


@pytest.mark.parametrize(("runtime", "timestamps"), [("eager", True), ("eager", False), ("compiled", True)])
def test_the_speculative_lane_writes_what_its_teacher_writes(  # noqa: PLR0917
    engine, speculative_lane, speechlike_clip, long_clip, parts, runtime, timestamps
):
    options = DecodingOptions(timestamps=timestamps)
    lane = SpeculativeEngine(speculative_lane, Settings(runtime=runtime), CPU)
    assert lane.runtime == "loop"
    assert ("compiled is not available" in lane.runtime_note) == (runtime == "compiled")
    for clip in (speechlike_clip, long_clip):
        expected = engine.transcribe(clip, options, type(parts)())
        output = lane.transcribe(clip, options, parts)
        assert output.transcript == expected.transcript
        assert (output.generated_tokens, output.ended) == (expected.generated_tokens, expected.ended)
        assert 0 <= output.acceptance_rate <= 1
        assert 1 <= output.tokens_per_pass <= 6
        assert expected.acceptance_rate is None
        assert expected.tokens_per_pass is None
    assert parts.events[-4:] == ["+generation", "+encoder", "-encoder", "-generation"]


def test_the_compiled_runtime_writes_what_generate_writes(engine, teacher_lane, speechlike_clip, long_clip, parts):
    loop = WhisperEngine(teacher_lane, Settings(runtime="compiled"), CPU)
    graphs = WhisperEngine(teacher_lane, Settings(runtime="compiled"), ReplayingDevice("cpu"))
    assert (loop.runtime, graphs.runtime) == ("loop", "compiled")
    assert "CUDA graphs need a CUDA device" in loop.runtime_note
    assert isinstance(graphs.graphed_encoder, GraphedEncoder)
    for clip in (speechlike_clip, long_clip):
        for options in (DecodingOptions(), DecodingOptions(timestamps=False), DecodingOptions(max_new_tokens=3)):
            expected = engine.transcribe(clip, options, parts)
            assert loop.transcribe(clip, options, parts) == expected
            assert graphs.transcribe(clip, options, parts) == expected


@pytest.mark.parametrize("runtime", ["eager", "compiled"])
def test_the_stamp_tells_what_will_run(teacher_lane, speculative_lane, runtime):
    pool = Pool(Settings(runtime=runtime), CPU)
    for lane in (teacher_lane, speculative_lane):
        before = pool.stamp(lane)
        pool.get(lane)
        assert pool.stamp(lane) == before


def test_cancel_stops_the_loop_within_one_round(speculative_lane, speechlike_clip, parts):
    lane = SpeculativeEngine(speculative_lane, Settings(), CPU)
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) == 5  # before the window, before both encoder layers, before a round, before another

    with pytest.raises(Cancelled):
        lane.transcribe(speechlike_clip, DecodingOptions(), parts, Caller(cancelled=cancelled))
    assert len(asked) == 5
    assert lane.transcribe(speechlike_clip, DecodingOptions(), parts).ended


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_on_a_gpu_write_what_generate_writes(teacher_lane, speculative_lane, speechlike_clip, long_clip, parts):
    """In float32, captured and replayed, window after window, clip after clip, greedy and with drafts."""
    cuda, settings = Device("cuda"), Settings(runtime="compiled", dtype="float32", attention="sdpa")
    plain = WhisperEngine(teacher_lane, replace(settings, runtime="eager"), cuda)
    graphs = WhisperEngine(teacher_lane, settings, cuda)
    assisted = SpeculativeEngine(speculative_lane, settings, cuda)
    assert (plain.runtime, graphs.runtime, assisted.runtime) == ("eager", "compiled", "compiled")
    for clip in (speechlike_clip, long_clip, speechlike_clip):
        for options in (DecodingOptions(), DecodingOptions(timestamps=False), DecodingOptions(max_new_tokens=3)):
            expected = plain.transcribe(clip, options, parts)
            assert graphs.transcribe(clip, options, parts) == expected
            output = assisted.transcribe(clip, options, parts)
            assert (output.transcript, output.generated_tokens) == (expected.transcript, expected.generated_tokens)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_in_half_precision_keep_nothing_of_other_clips(speculative_lane, speechlike_clip, long_clip, parts):
    """Against themselves: other kernels than those of ``generate`` may round to other tokens."""
    lane = SpeculativeEngine(speculative_lane, Settings(runtime="compiled"), Device("cuda"))
    assert (lane.info.dtype, lane.runtime) == ("float16", "compiled")
    first = lane.transcribe(speechlike_clip, DecodingOptions(), parts)
    assert first.generated_tokens > 1
    lane.transcribe(long_clip, DecodingOptions(timestamps=False), parts)
    assert lane.transcribe(speechlike_clip, DecodingOptions(), parts) == first
