"""Train the teacher: a Whisper of narrow layers, in stages that each learn one thing.

1. *listen*: the encoder alone spells what it hears (CTC over characters, Graves et al. 2006), so that the decoder
   cannot learn the language before there is anything to hear.
2. *read*: a decoder of two layers learns to attend, on short windows.
3. *grow*: identity layers are set between the two (block expansion, Wu et al. 2024, arXiv:2401.02415) and all train.
4. *widen*: a growing share of 30 s windows; several sentences, silence. All at once, full windows make
   the decoder forget how to attend: it was at 196 % word errors after 200 steps of them, from 5 %.
5. *time*: the timestamps, whose embeddings start as the encoder's positions.
6. *settle*: up to full windows alone, timestamps weighing more, while the learning rate falls to nothing.
7. *longer* and *finish*: on windows of up to four sentences and on full ones, with stretched frequency axes; the rate
   is high again, and falls in the last.
8. *fill*: smaller batches of longer windows, so that the decoder keeps its place past the third sentence.
9. *guide*: the same, and every decoder layer is told where each token is heard. Without that, only the last layer
   listened there (62 % of its attention within half a second, the others 10 to 40), and later sentences were guessed.
10. *hear*: the encoder alone once more, with all voices; then *hold*: on longer windows, which it unlearns meanwhile.
11. *shrink*: of the decoder the first and the last layer again, on the encoder as it now is, which stays so. What two
    layers cannot do no student of two layers will, and a step of theirs takes a quarter of the time. Attention is
    held to where each letter was heard, since within half a second of a word are its neighbours, too. Short windows
    stand at any of the decoder's positions, which only long windows would reach else, and those are dear.
12. *reread*: what costs most then is the encoder, which no longer changes. 30 s windows are encoded once and read many
    times: five times as many hours of speech a minute, until the rate has fallen to nothing.
13. *even*: windows of any number of sentences, with timestamps or without. Of the full ones, which end in a cut, only
    timestamps had been asked before, and without them the decoder lost its place after the fifth sentence.
14. *join*: encoder and decoder together, on clips of many sentences by one voice. On windows whose every sentence had
    another voice the decoder had learnt to find its place by the voice: it wrote three sentences of one voice with 2 %
    word errors, and eight with 18. Two minutes of `dev` went from 11.9 to 1.0 %.
15. *regrow*: identity layers between the two again, and all of the decoder trains.

Whisper's encoder positions are fixed sinusoids; *listen* places its short windows at random offsets among the 1,500, so
that every position is trained from the start. *read* does not: a decoder finds where to attend far sooner where
speech starts at the window's start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, ctc_loss, log_softmax

from components.core.errors import CheckpointError
from components.distillation.alignment import align
from components.distillation.encoded import EncodedBatches
from components.distillation.tokenizer import NUM_TIMESTAMPS, TIMESTAMP_STEP_S
from components.distillation.training import (
    MasterAdamW,
    Stage,
    attend_fast,
    run_stage,
    stays_with,
    steps_done,
    training_device,
)
from components.distillation.windows import ALPHABET, IGNORED, Batch, Batches, load_utterances

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor, WhisperTokenizer
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

ENCODER_LAYERS = 4
DECODER_LAYERS = 16
"""Of random weights timed on two threads, 12 layers were 3.0 to 3.4 times as slow as 2, and 16 were 4.6 to 4.7."""
WIDTH = 192
HEADS = 3
START = "start.json"
"""File beside the states: what the training began with."""
GUIDE_S, GUIDE_ALIGNED_S = 0.5, 0.16
"""How far from a token's place attention does not stray; the place by its share of the sentence, or by alignment."""

_WIDEN = Stage(
    "widen",
    200,
    size=16,
    most=3,
    layers=DECODER_LAYERS,
    ctc=0.3,
    ce=1.0,
    learning_rate=5e-4,
    warmup=50,
    full=0.3,
    shifted=0.5,
    timed=True,
)
_LONGER = replace(
    _WIDEN, steps=1000, most=4, learning_rate=6e-4, warmup=40, full=0.6, shifted=0.3, times=2.0, warped=0.5
)
_FILL = replace(_LONGER, name="fill", steps=2000, size=8, most=6, learning_rate=4.5e-4, decay=1200, full=0.9)
_LISTEN = Stage(
    "listen", 3000, size=16, most=1, layers=0, ctc=1.0, ce=0.0, learning_rate=1.5e-3, warmup=200, shifted=1.0
)
_SHRINK = replace(
    _LONGER,
    name="shrink",
    steps=1400,
    layers=2,
    ctc=0.0,
    learning_rate=1e-3,
    warmup=100,
    full=0.28,
    shifted=0.6,
    continued=True,
    guided=0.5,
    aligned=True,
    frozen_encoder=True,
)
_REREAD = replace(_SHRINK, name="reread", steps=4500, most=0, decay=3500, encoded=5000)
_EVEN = replace(_REREAD, name="even", steps=2200, most=10, learning_rate=6e-4, warmup=50, decay=2000, encoded=3500)
_JOIN = replace(
    _SHRINK,
    name="join",
    steps=3600,
    size=8,
    most=6,
    ctc=0.3,
    learning_rate=6e-4,
    decay=2400,
    full=0.8,
    shifted=0.4,
    frozen_encoder=False,
)
_REGROW = replace(
    _EVEN,
    name="regrow",
    steps=300,
    size=8,
    layers=DECODER_LAYERS,
    learning_rate=1.5e-4,
    warmup=100,
    decay=200,
    guided=0.0,
    aligned=False,
    encoded=1200,
)
STAGES = (
    _LISTEN,
    Stage("read", 2600, size=16, most=1, layers=2, ctc=0.5, ce=1.0, learning_rate=1e-3),
    Stage("grow", 150, size=16, most=2, layers=DECODER_LAYERS, ctc=0.5, ce=1.0, learning_rate=6e-4, warmup=30),
    _WIDEN,
    replace(_WIDEN, name="time", warmup=20, full=0.4, shifted=0.3, fresh_times=True),
    replace(_WIDEN, name="settle", warmup=10, decay=170, full=1.0, shifted=0.2, times=5.0),
    replace(_LONGER, name="longer"),
    replace(_LONGER, name="finish", steps=1000, warmup=40, decay=1000, full=0.8),
    _FILL,
    replace(_FILL, name="guide", steps=800, learning_rate=5e-4, decay=0, full=0.24, guided=0.3),
    replace(_LISTEN, name="hear", steps=2400, size=32, learning_rate=1e-3, warped=0.5),
    replace(_LISTEN, name="hold", steps=1700, size=12, most=5, learning_rate=8e-4, decay=1700, full=0.5, warped=0.5),
    _SHRINK,
    _REREAD,
    _EVEN,
    _JOIN,
    _REGROW,
)
FURTHER = (
    replace(
        _LISTEN,
        name="spell",
        steps=300,
        most=10,
        learning_rate=1e-2,
        warmup=20,
        decay=200,
        warped=0.5,
        frozen_encoder=True,
        encoded=600,
    ),
    replace(_JOIN, name="further", steps=4000, learning_rate=5e-4, decay=3000, guided=0.0, aligned=False),
    _REGROW,
)
"""What a trained teacher goes through to learn more. *spell* trains a new CTC head alone: a checkpoint has none, and
the encoder would be shaken by its first losses. *further* is *join* again, with no attention to hold."""


def teacher_config(tokenizer: WhisperTokenizer, decoder_layers: int = DECODER_LAYERS) -> WhisperConfig:
    """The shape: Whisper's 30 s geometry (80 mels, 1,500 positions), narrow layers, the small vocabulary."""
    from transformers import WhisperConfig

    end = tokenizer.eos_token_id
    return WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        encoder_layers=ENCODER_LAYERS,
        decoder_layers=decoder_layers,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


class Listener(nn.Module):
    """A Whisper model and the CTC head that only training has."""

    def __init__(self, model: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.spell = nn.Linear(model.config.d_model, len(ALPHABET) + 1)

    def listen(self, features: torch.Tensor, offset: int = 0) -> torch.Tensor:
        """Encoder states ``(B, frames / 2, d_model)`` of features ``(B, n_mels, frames)``, on the model's device."""
        return encode(self.model.get_encoder(), features.to(self.spell.weight), offset)

    def losses(self, batch: Batch, stage: Stage) -> dict[str, torch.Tensor]:
        """The stage's losses on a batch, by name; ``"loss"`` is their weighted sum."""
        hidden = batch.features if batch.encoded else self.listen(batch.features, batch.offset)
        losses = {}
        if stage.ctc:
            log_probs = log_softmax(self.spell(hidden).float(), -1).transpose(0, 1)
            frames = torch.full((hidden.shape[0],), hidden.shape[1])
            losses["ctc"] = ctc_loss(
                log_probs, batch.characters, frames, batch.character_lengths, zero_infinity=True, reduction="sum"
            ) / batch.character_lengths.sum().clamp(min=1)
        if stage.ce:
            options = {"position_ids": batch.positions, "output_attentions": bool(stage.guided)}
            states = decoder_states(self.model, batch.decoder_input_ids, hidden, **options)
            logits = self.model.proj_out(states.last_hidden_state).float()
            weights = logits.new_ones(logits.shape[-1])
            weights[-NUM_TIMESTAMPS:] = stage.times
            losses["ce"] = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), weights, ignore_index=IGNORED)
        if stage.guided:
            within_s = GUIDE_ALIGNED_S if stage.aligned else GUIDE_S
            losses["guided"] = straying(states.cross_attentions, batch.places, within_s)
        total = sum(getattr(stage, name) * value for name, value in losses.items())
        return losses | {"loss": total}


def encode(encoder: WhisperEncoder, features: torch.Tensor, offset: int = 0) -> torch.Tensor:
    """Whisper's encoder on windows of any length, placed at an offset among its positions.

    ``features``: ``(B, n_mels, frames)``; returns ``(B, frames / 2, d_model)``. The same operations as
    Transformers' ``WhisperEncoder.forward``, which refuses windows that are not 30 s long.
    """
    hidden = nn.functional.gelu(encoder.conv1(features))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    hidden = hidden + encoder.embed_positions.weight[offset : offset + hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    return encoder.layer_norm(hidden)


def decode(model: WhisperForConditionalGeneration, input_ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Logits ``(B, T, vocabulary)`` of Whisper's decoder for encoder states ``(B, frames, d_model)``."""
    return model.proj_out(decoder_states(model, input_ids, hidden).last_hidden_state)


def decoder_states(
    model: WhisperForConditionalGeneration, input_ids: torch.Tensor, hidden: torch.Tensor, **options: Any
) -> BaseModelOutputWithPastAndCrossAttentions:
    """Whisper's decoder for encoder states ``(B, frames, d_model)``, all tokens ``(B, T)`` at once; its own options."""
    return model.model.decoder(input_ids=input_ids, encoder_hidden_states=hidden, use_cache=False, **options)


def straying(attentions: Sequence[torch.Tensor], places: torch.Tensor, within_s: float) -> torch.Tensor:
    """How little a decoder listens where its tokens are heard: the mean over layers and tokens of minus a logarithm.

    Its argument is the attention that a layer's heads together, each summing to 1, give to the encoder states within
    ``within_s`` of a token's place, 1 at most: one head's worth is enough, the other heads are free. In the spirit of
    guided attention (Tachibana et al. 2017, arXiv:1710.08969), which knows no places and rewards the diagonal.

    ``attentions``: a tensor ``(B, heads, T, frames)`` a layer; ``places``: seconds ``(B, T)``, NaN leaves a token out.
    """
    known = ~places.isnan()
    if not known.any():
        return attentions[0].new_zeros(())
    frames_s = torch.arange(attentions[0].shape[-1], device=places.device) * TIMESTAMP_STEP_S
    near = (places[..., None] - frames_s).abs() <= within_s  # (B, T, frames)
    total = torch.zeros((), device=places.device)
    for attention in attentions:
        there = (attention.sum(1) * near).sum(-1, dtype=torch.float32)
        total = total - there[known].clamp(1e-4, 1).log().mean()
    return total / len(attentions)


def grow(model: WhisperForConditionalGeneration, decoder_layers: int) -> None:
    """Set new layers between the first decoder layer and the rest, in place, so that the model computes what it did.

    A new layer's three residual branches end in zeros; the rest of it is random.
    """
    from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

    old = list(model.model.decoder.layers)
    new = []
    for _ in range(decoder_layers - len(old)):
        layer = WhisperDecoderLayer(model.config).to(model.device, model.dtype)
        layer.apply(model._init_weights)  # noqa: SLF001 - Whisper's own
        for out in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
        new.append(layer)
    _set_layers(model, [old[0], *new, *old[1:]])


@torch.no_grad()
def start_timestamps(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer) -> None:
    """Give the timestamp tokens the encoder's position sinusoids as embeddings, in place.

    A timestamp is 20 ms and so is an encoder position: a decoder that attends to a place can copy its time out.
    They are scaled to the mean norm of the text tokens, whose number is the index of the end token.
    """
    embedding = model.get_input_embeddings().weight
    first = tokenizer.convert_tokens_to_ids("<|0.00|>")
    positions = model.get_encoder().embed_positions.weight.float()
    norm = embedding[: tokenizer.eos_token_id].float().norm(dim=1).mean()
    embedding[first : first + len(positions)] = (positions / positions.norm(dim=1, keepdim=True) * norm).to(model.dtype)


def new_listener(tokenizer: WhisperTokenizer, seed: int, start: str | None = None) -> Listener:
    """A model with random weights and a decoder of two layers, or a checkpoint's; in bfloat16.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
    """
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(seed)
    config = teacher_config(tokenizer, decoder_layers=2)
    return Listener(load_teacher(start)[0] if start else WhisperForConditionalGeneration(config)).bfloat16()


def load_teacher(checkpoint: str) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A teacher and its processor from a folder or a hub id, in float32, without remote code or pickles.

    Raises:
        CheckpointError: there is none, or it is no Whisper.
    """
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    try:
        model = WhisperForConditionalGeneration.from_pretrained(checkpoint, use_safetensors=True, dtype=torch.float32)
        return model, AutoProcessor.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} cannot be loaded as a Whisper teacher.") from error


def train_teacher(
    manifests: Sequence[Path],
    tokenizer: WhisperTokenizer,
    output: Path,
    *,
    seed: int = 1,
    stages: Sequence[Stage] = STAGES,
    start: str | None = None,
) -> Listener:
    """Go through the stages, each from its saved state if it has one; return the trained listener.

    ``start``: a checkpoint of the same tokens to go on from, a folder or a hub id, instead of random weights.

    Raises:
        CheckpointError: ``start`` cannot be loaded.
        FileExistsError: ``output`` holds a stage of other settings, or what began elsewhere.
    """
    from transformers import WhisperFeatureExtractor

    output.mkdir(parents=True, exist_ok=True)
    stays_with(output / START, {"start": start})
    stated = output / "stages.json"
    before = {stage["name"]: stage for stage in json.loads(stated.read_text())} if stated.exists() else {}
    for stage in stages:
        if (output / f"{stage.name}.pt").exists() and before.get(stage.name) != asdict(stage):
            raise FileExistsError(f"{output} holds a stage {stage.name} of other settings. Choose another --output.")
    stated.write_text(json.dumps([asdict(stage) for stage in stages], indent=1))
    utterances = load_utterances(manifests)
    device = training_device()
    listener = new_listener(tokenizer, seed, start).to(device)
    attend_fast(listener.model)
    extractor = WhisperFeatureExtractor()
    for stage in stages:
        _begin(stage, listener, tokenizer, seed)
        state_path = output / f"{stage.name}.pt"
        undone = steps_done(state_path) < stage.steps
        said = utterances
        if stage.aligned and undone:
            said = align(lambda features: listener.spell(listener.listen(features)), utterances, extractor)
        stage_seed = f"{seed}-{stage.name}"
        draw: Callable[[int], Batch]
        if stage.encoded and undone:
            draw = EncodedBatches(said, tokenizer, extractor, seed=stage_seed, stage=stage, listen=listener.listen)
        else:
            draw = Batches(said, tokenizer, extractor, seed=stage_seed, stage=stage)

        def loss_of(step: int, stage: Stage = stage, draw: Callable[[int], Batch] = draw) -> dict[str, torch.Tensor]:
            return listener.losses(draw(step).to(device), stage)

        run_stage(stage, listener, loss_of, state_path)
    return listener


def keep_layers(model: WhisperForConditionalGeneration, decoder_layers: int) -> None:
    """Leave a decoder some of its layers, in place: evenly spaced, the first and the last among them.

    Raises:
        ValueError: it has fewer, or fewer than two are wanted.
    """
    layers = model.model.decoder.layers
    if not 2 <= decoder_layers <= len(layers):
        raise ValueError(f"Of {len(layers)} decoder layers 2 to {len(layers)} can be kept, not {decoder_layers}.")
    kept = [round(k * (len(layers) - 1) / (decoder_layers - 1)) for k in range(decoder_layers)]
    _set_layers(model, [layers[k] for k in kept])


def _set_layers(model: WhisperForConditionalGeneration, layers: Sequence[nn.Module]) -> None:
    model.model.decoder.layers = nn.ModuleList(layers)
    model.config.decoder_layers = len(layers)
    for index, layer in enumerate(model.model.decoder.layers):
        layer.self_attn.layer_idx = layer.encoder_attn.layer_idx = index


def _begin(stage: Stage, listener: Listener, tokenizer: WhisperTokenizer, seed: int) -> None:
    """Give a listener the shape that a stage trains, and let only that train."""
    if 0 < stage.layers < len(listener.model.model.decoder.layers):
        keep_layers(listener.model, stage.layers)
    if stage.layers > len(listener.model.model.decoder.layers):
        torch.manual_seed(seed)
        grow(listener.model, stage.layers)
    if stage.fresh_times:
        start_timestamps(listener.model, tokenizer)
    listener.model.model.decoder.requires_grad_(bool(stage.layers))
    listener.model.get_encoder().requires_grad_(not stage.frozen_encoder)
    listener.spell.requires_grad_(bool(stage.ctc))
    listener.model.get_encoder().embed_positions.requires_grad_(False)


def trained_teacher(output: Path, tokenizer: WhisperTokenizer, *, seed: int = 1) -> WhisperForConditionalGeneration:
    """The model that ``train_teacher`` left in a folder, in float32, as far as it came.

    Raises:
        FileNotFoundError: no stage with a decoder has been trained there.
    """
    stages = [Stage(**stage) for stage in json.loads((output / "stages.json").read_text())]
    done = [stage for stage in stages if (output / f"{stage.name}.pt").exists()]
    if not any(stage.layers for stage in done):
        raise FileNotFoundError(f"{output} holds no trained teacher; run the step “teacher” first.")
    listener = new_listener(tokenizer, seed, json.loads((output / START).read_text())["start"]).float()
    for stage in done:
        _begin(stage, listener, tokenizer, seed)
        state = torch.load(output / f"{stage.name}.pt", map_location="cpu", weights_only=True)
        MasterAdamW(listener).load_state_dict(state["optimizer"])
    return listener.model


def with_steps(stages: Sequence[Stage], steps: dict[str, int]) -> tuple[Stage, ...]:
    """The stages with other lengths, by name.

    Raises:
        ValueError: there is no stage of a name.
    """
    names = [stage.name for stage in stages]
    if unknown := next((name for name in steps if name not in names), None):
        raise ValueError(f"There is no stage {unknown!r}. Choose from: {', '.join(names)}.")
    return tuple(replace(stage, steps=steps.get(stage.name, stage.steps)) for stage in stages)
