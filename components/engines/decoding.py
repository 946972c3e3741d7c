"""A greedy loop of our own over the weights of a model: static caches, token choice on the device, optional drafts.

``generate`` spends about a millisecond a token on its own bookkeeping, and Transformers' assisted loop runs a whole
``generate`` of the assistant for every draft: it prepares a configuration, builds the logits processors (whose
timestamp rules read the tokens back from the device for every token), and grows its caches by copying. Here a round is
a few passes through the decoders' layers over caches of fixed size: a position that is written again needs no
cropping, and the rules are masks made on the device. On CUDA a round is one graph.

The tokens are those of ``generate``: the same rules in the same order, on the same logits.
"""

from __future__ import annotations

import functools
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from components.core.types import WINDOW_S
from components.engines.fusion import Fused
from components.engines.linear import linear
from components.engines.prompt import FRAME_S, TIMESTAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.engines.device import Device

DRAFT_TOKENS = 5
"""Tokens that the student writes at most before the teacher looks; it stops where they are hardly all right."""

SURE = 0.5
"""The probability, by the student's own figures, that all drafts of a round are right, below which the last one is
written. So the length adapts to what is said: on 13 clips of people 2.9 tokens a pass of the teacher, two drafts of
three right; between 0.3 and 0.7, and with 4 to 10 drafts at most, it hardly matters."""

GRAPH_DRAFT_TOKENS = 5
"""Drafts of a round that is a graph, which cannot stop early: with nine of ten right, more would mostly be thrown away
(arXiv 2211.17192, 3.2)."""

HEARD_AFTER_S = 1.0
"""Of the padding after the audio, what a student hears while it drafts. On 13 clips of people as many drafts are right
as with all of it."""

ENCODER_FRAME_S = 2 * FRAME_S
"""Seconds of a frame of the encoder's output."""

ROUNDS_A_LOOK = 8
"""Greedy tokens between two looks at whether the end was written, where rounds are graphs and a look is a wait."""


class TokenRules:
    """What Whisper may write next: Transformers' three logits processors for Whisper, without reading back.

    ``generation_config``: its ``suppress_tokens``, ``begin_suppress_tokens``, ``max_initial_timestamp_index``,
    ``no_timestamps_token_id`` and ``eos_token_id`` count. ``prompt_length``: tokens before the first generated one.
    ``ids``: the tokens that the columns of the logits stand for, in rising order; every timestamp is among them.
    """

    def __init__(self, generation_config: Any, *, prompt_length: int, timestamps: bool, ids: torch.Tensor) -> None:
        self.prompt_length = prompt_length
        self.timestamps = timestamps
        self.ids = ids
        self.first_timestamp = generation_config.no_timestamps_token_id + 1
        self.last_timestamp = self.first_timestamp + TIMESTAMPS - 1

        def listed(tokens: Sequence[int] | None) -> torch.Tensor:
            return torch.isin(ids, torch.tensor(list(tokens or ()), dtype=torch.long, device=ids.device))

        def column(token: int) -> int:
            return int((ids < token).sum())

        never = listed(generation_config.suppress_tokens)
        at_begin = listed(generation_config.begin_suppress_tokens)
        if timestamps:
            never = never | listed([generation_config.no_timestamps_token_id])
            at_begin = at_begin | (ids < self.first_timestamp) | (ids > self.last_timestamp)
            if (last := getattr(generation_config, "max_initial_timestamp_index", None)) is not None:
                at_begin = at_begin | (ids > self.first_timestamp + last)
        # As numbers to add: one pass over the logits, where a mask and a fill are two.
        self.never = torch.zeros(len(ids), device=ids.device).masked_fill_(never, -torch.inf)
        self.at_begin = torch.zeros_like(self.never).masked_fill_(at_begin, -torch.inf)
        self.end, self.times, self.after = map(
            column, (generation_config.eos_token_id, self.first_timestamp, self.last_timestamp + 1)
        )

    def choose(
        self, logits: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor, *, begins: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best token allowed at each of ``positions``, shape ``(n,)``, and its logit.

        ``logits``: shape ``(n, len(ids))``; ``tokens``: the sequence of each row, shape ``(n, slots)``, of which it
        sees what lies before its position. ``begins``: rows, from the top, whose position is the first after the
        prompt.
        """
        scores = logits.float() + self.never
        if begins:
            scores[:begins] += self.at_begin
        if not self.timestamps:
            best, column = scores.max(dim=-1)
            return self.ids[column], best
        done, opened, lowest = self._history(tokens, positions)
        word, word_column = self._best_word(scores, opened)
        times = scores[:, self.times : self.after]
        forbidden = done[:, None] | (self.ids[self.times : self.after] < lowest[:, None])
        times = times.masked_fill(forbidden, -torch.inf)
        time, time_column = times.max(dim=-1)
        # Where the timestamps together are likelier than any one word, a timestamp it is.
        is_time = times.logsumexp(dim=-1) > word
        column = torch.where(is_time, time_column + self.times, word_column)
        return self.ids[column], torch.where(is_time, time, word)

    def _history(
        self, tokens: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each row: whether a pair of timestamps is done, whether one is open, the lowest timestamp allowed."""
        is_time = (tokens >= self.first_timestamp) & (tokens <= self.last_timestamp)
        generated = positions - self.prompt_length
        last = (generated >= 1) & is_time.gather(1, (positions - 1)[:, None])[:, 0]
        before = (generated < 2) | is_time.gather(1, (positions - 2).clamp(min=0)[:, None])[:, 0]
        done = last & before  # text or the end comes next
        opened = last & ~before  # its second timestamp, or the end, comes next
        slots = torch.arange(tokens.shape[1], device=tokens.device)
        earlier = is_time & (slots >= self.prompt_length) & (slots < positions[:, None])
        # Timestamps never fall, so the largest is the last; a new pair may not start where the last one ended at 0.00.
        latest = torch.where(earlier, tokens, -1).amax(dim=-1)
        lowest = torch.where(latest < 0, self.first_timestamp, latest + (~opened).long())
        return done, opened, lowest

    def _best_word(self, scores: torch.Tensor, opened: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Best score and column of what is no timestamp; only the end and its like where a pair is open."""
        best, column = scores[:, self.end : self.times].max(dim=-1)
        column = column + self.end
        for start, stop in ((0, self.end), (self.after, scores.shape[1])):
            if start < stop:
                text, text_column = scores[:, start:stop].max(dim=-1)
                better = ~opened & (text > best)
                best, column = torch.where(better, text, best), torch.where(better, text_column + start, column)
        return best, column


class _Layer(nn.Module):
    """One decoder layer for a few new tokens at a time; q, k and v in one product."""

    def __init__(self, layer: Any, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        attention, cross = layer.self_attn, layer.encoder_attn
        self.norm, self.cross_norm, self.last_norm = (
            layer.self_attn_layer_norm,
            layer.encoder_attn_layer_norm,
            layer.final_layer_norm,
        )
        self.qkv = make(*_joined(attention.q_proj, attention.k_proj, attention.v_proj))
        self.out, self.cross_query, self.cross_out, self.fc1, self.fc2 = (
            make(module.weight, module.bias)
            for module in (attention.out_proj, cross.q_proj, cross.out_proj, layer.fc1, layer.fc2)
        )
        self.cross_keys, self.cross_values = cross.k_proj, cross.v_proj
        self.activation = layer.activation_fn

    def forward(
        self,
        hidden: torch.Tensor,
        caches: tuple[torch.Tensor, torch.Tensor],
        positions: torch.Tensor,
        length: int,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """``hidden``: shape ``(sequences * new, width)``; the others as in ``CachedDecoder.logits``.

        ``caches``: keys and values of tokens and of audio, ``(2, sequences, heads, slots or frames, width / heads)``;
        those of the new tokens are written.
        """
        own, (audio_keys, audio_values) = caches
        query, *pair = self._split(self.qkv(self.norm(hidden)), own).chunk(3, dim=1)
        for cache, part in zip(own, pair, strict=True):
            cache.index_copy_(2, positions, part)
        keys, values = own[:, :, :, :length]
        hidden = hidden + self.out(_attend(query, keys, values, mask))
        query = self._split(self.cross_query(self.cross_norm(hidden)), own)
        hidden = hidden + self.cross_out(_attend(query, audio_keys, audio_values, None))
        return hidden + self.fc2(self.activation(self.fc1(self.last_norm(hidden))))

    @staticmethod
    def _split(rows: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return split_heads(rows.view(own.shape[1], -1, rows.shape[-1]), own.shape[-1])


def split_heads(states: torch.Tensor, width: int) -> torch.Tensor:
    """Shape ``(sequences, n, heads * width)`` to ``(sequences, heads, n, width)``."""
    return states.unflatten(-1, (-1, width)).transpose(1, 2)


def _attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    read = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    return read.transpose(1, 2).flatten(2).flatten(0, 1)


def _joined(*modules: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of linear modules one under another; the modules then read the joined ones."""
    weight = torch.cat([module.weight for module in modules])
    biases = [module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias for module in modules]
    for module, part in zip(modules, weight.split([len(module.weight) for module in modules]), strict=True):
        module.weight.data = part
    return weight, torch.cat(biases)


class _Weights:
    """A decoder's weights, made ready; ``project`` goes onto the whole vocabulary."""

    def __init__(self, model: Any, *, int8: bool) -> None:
        self.make = functools.partial(linear, int8=int8)
        self.layers = [_Layer(layer, self.make) for layer in model.get_decoder().layers]
        self.project = self.make(model.proj_out.weight, None)


_weights: weakref.WeakKeyDictionary[Any, dict[bool, _Weights]] = weakref.WeakKeyDictionary()
"""Made ready once for all loops over a model, as long as it lives; as they are, and in int8."""


class CachedDecoder:
    """Sequences of equal length through the layers of a Whisper decoder, with caches of fixed size.

    ``model``: a ``WhisperForConditionalGeneration``. ``ids``: the tokens to project onto, all of them by default.
    ``int8``: see ``linear``. ``fuse``: whether to have each layer's kernels joined, see ``Fused``.
    """

    def __init__(
        self,
        model: Any,
        ids: torch.Tensor | None = None,
        *,
        int8: bool = False,
        fuse: bool = False,
    ) -> None:
        self.pass_layer: Callable[..., torch.Tensor] = Fused(_Layer.forward) if fuse else _Layer.forward
        self.model, decoder, config = model, model.get_decoder(), model.config
        kept = _weights.setdefault(model, {})
        weights = kept[int8] if int8 in kept else kept.setdefault(int8, _Weights(model, int8=int8))
        self.layers, self.project = weights.layers, weights.project
        self.embeddings, self.positions = decoder.embed_tokens.weight, decoder.embed_positions.weight
        self.norm = decoder.layer_norm
        self.ids = torch.arange(config.vocab_size, device=model.device) if ids is None else ids.to(model.device)
        if ids is not None:
            self.project = weights.make(model.proj_out.weight[self.ids], None)
        self.slots = config.max_target_positions
        self.heads = config.decoder_attention_heads
        self.frames = config.max_source_positions
        self.batch = 0
        self.resize(1)

    def resize(self, batch: int) -> None:
        """Make room for so many sequences; what the caches held is lost where there was less."""
        if batch > self.batch:
            weight, self.batch = self.embeddings, batch
            # Keys and values of each layer, head by head in one piece: read in strides they take a CPU twice as long.
            shape = (len(self.layers), 2, batch, self.heads, self.slots, weight.shape[1] // self.heads)
            self.own = weight.new_zeros(shape)
            self.cross = weight.new_zeros(*shape[:4], self.model.config.max_source_positions, shape[-1])

    def listen(self, encoder_states: torch.Tensor) -> None:
        """Project the encoder's output, shape ``(n, frames, width)``, for every layer: once a window."""
        count, self.frames = encoder_states.shape[:2]
        for layer, (keys, values) in zip(self.layers, self.cross, strict=True):
            for cache, module in ((keys, layer.cross_keys), (values, layer.cross_values)):
                states = split_heads(module(encoder_states), cache.shape[-1])
                cache[:count, :, : self.frames].copy_(states)

    def forget(self) -> None:
        """Clear the slots, for passes that look at all of them.

        What is masked counts for 0, but 0 of NaN is NaN: an overflow in half precision would stay for every window.
        """
        self.own.zero_()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some of the sequences alone; they become the first ones."""
        for caches in (self.own, self.cross):
            for layer in caches:
                layer[:, : len(rows)] = layer[:, rows]

    def logits(
        self, tokens: torch.Tensor, positions: torch.Tensor, length: int, mask: torch.Tensor | None, keep: int
    ) -> torch.Tensor:
        """Logits after the last ``keep`` tokens of each sequence, shape ``(sequences * keep, len(ids))``.

        ``tokens``: int64, shape ``(sequences, n)``, at ``positions``, shape ``(n,)``; their keys and values are written
        to the caches. ``length``: slots of the caches to look at; ``mask``: 0 for those that each token may see, minus
        infinity for others, ``(n, length)``.
        """
        count, new = tokens.shape
        hidden = (self.embeddings[tokens] + self.positions[positions]).flatten(0, 1)
        for layer, own, cross in zip(self.layers, self.own, self.cross, strict=True):
            caches = own[:, :count], cross[:, :count, :, : self.frames]
            hidden = self.pass_layer(layer, hidden, caches, positions, length, mask)
        last = hidden.view(count, new, -1)[:, new - keep :].flatten(0, 1)
        return self.project(self.norm(last))


@dataclass
class Decoded:
    """Tokens of one window, end-of-text included where it was written; the passes and drafts of a loop that counts.

    ``times_s``: what the clock read when each token was known, where there was one.
    """

    tokens: list[int]
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    times_s: list[float] = field(default_factory=list)

    def add(self, more: list[int], end: int | None, clock: Callable[[], float] | None) -> bool:
        """Add tokens up to the end token; whether it came."""
        if end is not None and end in more:
            more = more[: more.index(end) + 1]
        self.tokens += more
        if clock is not None:
            self.times_s += [clock()] * len(more)
        return end is not None and more[-1:] == [end]


class Loop:
    """Decodes windows, one after another or several side by side; greedy, or with a student that drafts.

    A round (arXiv 2211.17192, for greedy choice): the student writes some drafts, the teacher chooses at each of their
    positions and the one after in a single pass, and its choices hold as far as the drafts agree with them, and one
    further. So the tokens are the teacher's, whatever the student writes. Without a student a round is one token.

    ``graphs``: every round is one captured graph; needs ``device.graphs_unavailable()`` to be empty. ``draft_tokens``:
    at most in a round. ``sure``: the probability of all drafts below which one is the round's last; graphs cannot look.
    ``draft_ids``: the tokens that the student chooses from while it drafts (FR-Spec, arXiv 2502.14856); all by default.
    ``int8``: with weights of eight bits, see ``linear``; the tokens may differ.
    """

    def __init__(
        self,
        teacher: Any,
        student: Any | None = None,
        *,
        device: Device,
        graphs: bool = False,
        draft_tokens: int | None = None,
        sure: float = SURE,
        draft_ids: torch.Tensor | None = None,
        int8: bool = False,
    ) -> None:
        self.device, self.graphs, self.sure = device, graphs, sure
        if draft_tokens is None:
            draft_tokens = GRAPH_DRAFT_TOKENS if graphs else DRAFT_TOKENS
        fuse = graphs and device.launches_kernels
        self.teacher = CachedDecoder(teacher, int8=int8, fuse=fuse)
        self.student = CachedDecoder(student, draft_ids, int8=int8, fuse=fuse) if student is not None else None
        self.draft_tokens = draft_tokens if student is not None else 0
        self.end_token = teacher.generation_config.eos_token_id
        self.generation_config = teacher.generation_config
        where: dict[str, Any] = {"dtype": torch.long, "device": teacher.device}
        slots = self.teacher.slots + self.draft_tokens + 2
        self.tokens = torch.zeros(1, slots, **where)
        self.indices = torch.arange(slots, **where)
        self.position = torch.zeros(1, **where)  # of the last token that is settled; read by graphs only
        self.accepted = torch.zeros(1, **where)
        config = teacher.config
        self.encoder_states = (
            torch.zeros(1, config.max_source_positions, config.d_model, dtype=teacher.dtype, device=teacher.device)
            if graphs
            else None
        )
        self._rules: dict[tuple[int, bool, bool], TokenRules] = {}
        self._replays: dict[tuple[int, bool, bool], Callable[[], None]] = {}
        self._listen: Callable[[], None] | None = None
        self.lock = threading.Lock()
        """To be held while it decodes: its caches hold the windows of one request at a time."""
        self._student_read = 0  # tokens of the sequence that the student has read and that still hold

    def prepare(self, prompt_length: int, *, timestamps: bool) -> None:
        """Capture the graphs for prompts of this length, outside the clock; nothing to do without graphs."""
        if not self.graphs:
            return
        if self._listen is None:
            self._listen = self.device.capture(self._listen_to_static)
            self._listen()  # a capture runs nothing: rounds that warm up must not read memory that nobody wrote
        for first in (True, False):
            self.position.fill_(prompt_length - first)  # where such a round may find it
            run = functools.partial(self._static_round, prompt_length, timestamps=timestamps, first=first)
            self._replays[prompt_length, timestamps, first] = self.device.capture(run)

    @property
    def fusion_failure(self) -> str:
        """Why kernels of the decoders are not joined though they were to be; empty otherwise."""
        return getattr(self.teacher.pass_layer, "failure", "")

    def decode(
        self,
        encoder_states: torch.Tensor,
        prompt: Sequence[int],
        *,
        timestamps: bool,
        max_length: int,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
        draft: Sequence[int] = (),
        content_s: float = WINDOW_S,
        ends: bool = True,
    ) -> Decoded:
        """Tokens after ``prompt``, until the end token or until there are ``max_length`` with the prompt.

        ``encoder_states``: shape ``(1, frames, width)``. ``check`` is called before every round, and may raise.
        ``clock`` is read after every round, and never waits for the device. ``draft``: tokens to check all at once in
        the first round, as if a student had written them. ``content_s``: seconds of audio in the window; in the padding
        after it a student need not listen. Graphs leave both aside. ``ends``: false to go on after the end token, for
        timing a fixed length.
        """
        self.tokens[0, : len(prompt)] = torch.tensor(prompt, device=self.tokens.device)
        end, max_length = self.end_token if ends else None, min(max_length, self.teacher.slots)
        if self.graphs:
            return self._decode_by_graphs(
                encoder_states, len(prompt), max_length, check, timestamps=timestamps, clock=clock, end=end
            )
        self.teacher.listen(encoder_states)
        if self.student is not None:
            self.student.listen(encoder_states[:, : round((content_s + HEARD_AFTER_S) / ENCODER_FRAME_S)])
        found, position, first = Decoded([]), len(prompt) - 1, True
        self._student_read = 0
        while position + 1 < max_length:
            check()
            room = max_length - 2 - position
            drafts = self._given(draft[:room], position) if first else 0
            drafts = drafts or self._draft(len(prompt), position, min(self.draft_tokens, room), timestamps, end)
            choices, accepted = self._round(len(prompt), position, drafts, timestamps=timestamps, first=first)
            count = int(accepted) if drafts else 0
            found.passes += 1
            found.drafted += drafts
            found.accepted += count
            self._student_read = min(self._student_read, position + count + 1)
            position += count + 1
            first = False
            if found.add(choices[: count + 1].tolist(), end, clock):
                break
        return found

    def decode_batch(
        self,
        encoder_states: torch.Tensor,
        prompt: Sequence[int],
        *,
        timestamps: bool,
        max_length: int,
        check: Callable[[], None] = lambda: None,
        ends: bool = True,
    ) -> list[Decoded]:
        """As ``decode``, for several windows side by side, without drafts; ``encoder_states``: ``(n, frames, width)``.

        A window that has ended is decoded on beside the others, and left out once half of them have ended.
        """
        count, position, first = len(encoder_states), len(prompt) - 1, True
        end = self.end_token if ends else None
        if len(self.tokens) < count:
            self.tokens = self.tokens.new_zeros(count, self.tokens.shape[1])
        self.tokens[:count, : len(prompt)] = torch.tensor(prompt, device=self.tokens.device)
        self.teacher.resize(count)
        self.teacher.listen(encoder_states)
        rules = self._rules_for(len(prompt), timestamps=timestamps)
        found, rows = [Decoded([]) for _ in range(count)], list(range(count))
        going = set(rows)
        while going and position + 1 < min(max_length, self.teacher.slots):
            check()
            start, new = (0, len(prompt)) if first else (position, 1)
            choices, _ = self._pass(self.teacher, rules, start, new, keep=1, first=first, count=len(rows))
            for row, token in zip(rows, choices.tolist(), strict=True):
                if row in going and found[row].add([token], end, None):
                    going.discard(row)
            position, first = position + 1, False
            if 0 < len(going) <= len(rows) // 2:
                kept = torch.tensor([place for place, row in enumerate(rows) if row in going], device=choices.device)
                self.teacher.keep(kept)
                self.tokens[: len(kept)] = self.tokens[kept]
                rows = [row for row in rows if row in going]
        return found

    # -- one round

    def _given(self, draft: Sequence[int], position: int) -> int:
        """Write a draft that came with the request after the prompt; its length."""
        draft = list(draft)
        self.tokens[0, position + 1 : position + 1 + len(draft)] = torch.tensor(draft, dtype=torch.long)
        return len(draft)

    def _draft(self, prompt_length: int, position: int, drafts: int, timestamps: bool, end: int | None) -> int:
        """Let the student write after ``position``: so many tokens, or up to the end, or to one it is unsure of.

        Returns how many it wrote. It begins by reading what is settled and it has not read.
        """
        if drafts <= 0 or self.student is None:
            return 0
        rules = self._rules_for(prompt_length, timestamps=timestamps, student=True)
        start, count = self._student_read, position + 1 - self._student_read
        likely = 1.0  # that all drafts so far are right
        for draft in range(drafts):
            first = position + draft + 1 == prompt_length
            choices, sure = self._pass(self.student, rules, start, count, keep=1, first=first, sure=self.sure > 0)
            self._student_read = position + draft + 1
            likely *= 1.0 if sure is None else float(sure)
            if likely < self.sure or int(choices) == end:
                return draft + 1
            start, count = position + draft + 1, 1
        return drafts

    def _round(
        self, prompt_length: int, position: Any, drafts: int, *, timestamps: bool, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor | int]:
        """Choose and compare: the teacher's choices, of which one more than accepted hold.

        ``position``: of the last settled token, which the teacher has not read yet; the first round reads the prompt.
        ``drafts``: tokens that the student wrote after it.
        """
        rules = self._rules_for(prompt_length, timestamps=timestamps)
        start, count = (0, prompt_length + drafts) if first else (position, 1 + drafts)
        if not drafts:
            return self._pass(self.teacher, rules, start, count, keep=1, first=first)[0], 0
        proposed = self.tokens[0, self.indices[:drafts] + position + 1]
        choices, _ = self._pass(self.teacher, rules, start, count, keep=drafts + 1, first=first)
        return choices, (choices[:drafts] == proposed).long().cumprod(dim=0).sum()

    def _pass(
        self,
        decoder: CachedDecoder,
        rules: TokenRules,
        start: Any,
        new: int,
        *,
        keep: int,
        first: bool,
        count: int = 1,
        sure: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Read ``new`` tokens of ``count`` sequences from ``start`` on, choose what follows the last ``keep`` of them.

        The choices are written there and returned, with their probabilities where they are asked for.
        """
        positions = self.indices[:new] + start
        mask = None
        if self.graphs:
            # Drafts beyond the last slot are never used; they may write to the last one, which nobody reads after.
            positions, length = positions.clamp(max=decoder.slots - 1), decoder.slots
        else:
            length = start + new
        if self.graphs or new > 1:  # as numbers, once: given as booleans, every layer would turn them into numbers
            hidden = self.indices[:length] > positions[:, None]
            mask = torch.zeros_like(hidden, dtype=decoder.own.dtype).masked_fill_(hidden, -torch.inf)
        tokens = self.tokens[:count]
        logits = decoder.logits(tokens[:, positions], positions, length, mask, keep)
        following = positions[-keep:] + 1
        rows = max(count, keep)  # several sequences, or several positions of one
        choices, best = rules.choose(logits, tokens.expand(rows, -1), following.expand(rows), begins=count * first)
        tokens.index_copy_(1, following, choices.view(count, keep))
        return choices, (best - logits.float().logsumexp(dim=-1)).exp() if sure else None

    def _listen_to(self, encoder_states: torch.Tensor) -> None:
        self.teacher.listen(encoder_states)
        if self.student is not None:
            self.student.listen(encoder_states)

    def _rules_for(self, prompt_length: int, *, timestamps: bool, student: bool = False) -> TokenRules:
        key = prompt_length, timestamps, student
        if key not in self._rules:
            decoder = self.student if student and self.student is not None else self.teacher
            self._rules[key] = TokenRules(
                self.generation_config, prompt_length=prompt_length, timestamps=timestamps, ids=decoder.ids
            )
        return self._rules[key]

    # -- rounds as graphs: positions and counts stay on the device

    def _listen_to_static(self) -> None:
        if self.encoder_states is None:
            raise RuntimeError("a loop without graphs has no room for the encoder's output")
        for decoder in filter(None, (self.teacher, self.student)):
            decoder.forget()
        self._listen_to(self.encoder_states)

    def _static_round(self, prompt_length: int, *, timestamps: bool, first: bool) -> None:
        if self.student is not None:
            self._static_draft(self.student, prompt_length, timestamps=timestamps, first=first)
        _, accepted = self._round(prompt_length, self.position, self.draft_tokens, timestamps=timestamps, first=first)
        self.accepted.add_(accepted)
        self.position.add_(accepted + 1)

    def _static_draft(self, student: CachedDecoder, prompt_length: int, *, timestamps: bool, first: bool) -> None:
        """Let the student write; it begins by reading two tokens, of which it may know one, or the prompt."""
        rules = self._rules_for(prompt_length, timestamps=timestamps, student=True)
        start, new = (0, prompt_length) if first else (self.position - 1, 2)
        for draft in range(self.draft_tokens):
            self._pass(student, rules, start, new, keep=1, first=first and not draft)
            start, new = self.position + draft + 1, 1

    def _decode_by_graphs(
        self,
        encoder_states: torch.Tensor,
        prompt: int,
        max_length: int,
        check: Callable[[], None],
        *,
        timestamps: bool,
        clock: Callable[[], float] | None,
        end: int | None,
    ) -> Decoded:
        if (prompt, timestamps, True) not in self._replays:
            self.prepare(prompt, timestamps=timestamps)
        if self.encoder_states is None or self._listen is None:
            raise RuntimeError("a loop without graphs cannot replay them")
        self.encoder_states.copy_(encoder_states)
        self._listen()
        self.position.fill_(prompt - 1)
        self.accepted.zero_()
        found, rounds = Decoded([]), 0
        while True:
            for _ in range(1 if self.draft_tokens else ROUNDS_A_LOOK):
                check()
                self._replays[prompt, timestamps, rounds == 0]()
                rounds += 1
            position, accepted, *tokens = torch.cat([self.position, self.accepted, self.tokens[0]]).tolist()
            found.drafted, found.accepted = rounds * self.draft_tokens, accepted
            new = tokens[prompt + len(found.tokens) : min(position + 1, max_length)]
            if found.add(new, end, clock) or position + 1 >= max_length:
                found.passes = rounds if self.draft_tokens else len(found.tokens)  # those after the end are not wanted
                return found


class GraphedEncoder:
    """A Whisper encoder as one graph: same input shape, same place of the output at every call."""

    def __init__(self, encoder: Any, window_frames: int, device: Device) -> None:
        weight = encoder.conv1.weight
        self._window = weight.new_zeros(1, weight.shape[1], window_frames)
        self._encode = Fused(_last_state, {}) if device.launches_kernels else _last_state
        self._states = weight.new_zeros(1, encoder.config.max_source_positions, encoder.config.d_model)
        self._encoder = encoder
        self._replay = device.capture(self._run)

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        """``window``: shape ``(1, n_mels, window_frames)``."""
        self._window.copy_(window)
        self._replay()
        return self._states

    def _run(self) -> None:
        self._states.copy_(self._encode(self._encoder, self._window))


def _last_state(encoder: Any, window: torch.Tensor) -> torch.Tensor:
    return encoder(window).last_hidden_state
