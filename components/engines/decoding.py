"""A greedy loop of our own around Transformers' modules: static caches, token choice on the device, optional drafts.

``generate`` spends about a millisecond a token on its own bookkeeping, and Transformers' assisted loop runs a whole
``generate`` of the assistant for every draft: it prepares a configuration, builds the logits processors (whose
timestamp rules read the tokens back from the device for every token), and grows its caches by copying. Here a round is
a few passes through the decoders' layers over caches of fixed size: a position that is written again needs no
cropping, and the rules are masks made on the device. On CUDA a round is one graph.

The tokens are those of ``generate``: the same rules in the same order, on the same logits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.engines.device import Device

DRAFT_TOKENS = 10
"""Tokens that the student writes at most before the teacher looks; it stops where it is not sure."""

SURE = 0.4
"""The probability below which a draft is the last of its round; Transformers' ``assistant_confidence_threshold``.

On 22 of the offline pair's clips, drafts below it are right 4 times in 10, those above it 96 times in 100. Counted
from these, with a teacher's pass at the price of seven of the student's: five drafts whatever they are decode
2.4 times as fast as the teacher alone, ten until one is unsure 2.9 times; between 0.3 and 0.6 it hardly matters."""

GRAPH_DRAFT_TOKENS = 5
"""Drafts of a round that is a graph, which cannot stop early: with nine of ten right, more would mostly be thrown away
(arXiv 2211.17192, 3.2)."""

ROUNDS_A_LOOK = 8
"""Greedy tokens between two looks at whether the end was written, where rounds are graphs and a look is a wait."""


class TokenRules:
    """What Whisper may write next, as masks: Transformers' three logits processors for Whisper, without reading back.

    ``generation_config``: its ``suppress_tokens``, ``begin_suppress_tokens``, ``max_initial_timestamp_index``,
    ``no_timestamps_token_id`` and ``eos_token_id`` count. ``prompt_length``: tokens before the first generated one.
    """

    def __init__(
        self, generation_config: Any, *, prompt_length: int, timestamps: bool, vocabulary: int, device: torch.device
    ) -> None:
        self.prompt_length = prompt_length
        self.timestamps = timestamps
        self.first_timestamp = generation_config.no_timestamps_token_id + 1
        self.ids = torch.arange(vocabulary, device=device)

        def listed(tokens: Sequence[int] | None) -> torch.Tensor:
            return torch.isin(self.ids, torch.tensor(list(tokens or ()), dtype=torch.long, device=device))

        never = listed(generation_config.suppress_tokens)
        at_begin = listed(generation_config.begin_suppress_tokens)
        self.is_timestamp = self.ids >= self.first_timestamp
        if timestamps:
            never = never | listed([generation_config.no_timestamps_token_id])
            at_begin = at_begin | ~self.is_timestamp
            if (last := getattr(generation_config, "max_initial_timestamp_index", None)) is not None:
                at_begin = at_begin | (self.ids > self.first_timestamp + last)
        self.never, self.at_begin = never, at_begin
        self.is_text = self.ids < generation_config.eos_token_id

    def scores(self, logits: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The logits of the tokens allowed at each of ``positions``, minus infinity for others; float32.

        ``logits``: shape ``(n, vocabulary)``; ``tokens``: the sequence, shape ``(slots,)``, of which each row sees what
        lies before its position.
        """
        forbidden = self.never | ((positions == self.prompt_length)[:, None] & self.at_begin)
        scores = logits.float()
        if not self.timestamps:
            return scores.masked_fill(forbidden, -torch.inf)
        generated = positions - self.prompt_length
        last_is_timestamp = (generated >= 1) & (tokens[positions - 1] >= self.first_timestamp)
        before_is_timestamp = (generated < 2) | (tokens[positions - 2] >= self.first_timestamp)
        pair_is_done = last_is_timestamp & before_is_timestamp  # text or the end comes next
        pair_is_open = last_is_timestamp & ~before_is_timestamp  # its second timestamp, or the end, comes next
        slots = self.slots(tokens)
        earlier = (slots >= self.prompt_length) & (slots < positions[:, None])
        # Timestamps never fall, so the largest is the last; a new pair may not start where the last one ended at 0.00.
        latest = torch.where(earlier & (tokens >= self.first_timestamp), tokens, -1).amax(dim=-1)
        lowest = torch.where(latest < 0, self.first_timestamp, latest + (~pair_is_open).long())
        forbidden = (
            forbidden
            | (pair_is_done[:, None] & self.is_timestamp)
            | (pair_is_open[:, None] & self.is_text)
            | (self.is_timestamp & (self.ids < lowest[:, None]))
        )
        scores = scores.masked_fill(forbidden, -torch.inf)
        # Where the timestamps together are likelier than any one word, a timestamp it is.
        likelihoods = functional.log_softmax(scores, dim=-1)
        timestamp = likelihoods[:, self.first_timestamp :].logsumexp(dim=-1)
        word = likelihoods[:, : self.first_timestamp].amax(dim=-1)
        return scores.masked_fill((timestamp > word)[:, None] & ~self.is_timestamp, -torch.inf)

    def slots(self, tokens: torch.Tensor) -> torch.Tensor:
        """Indices of the sequence."""
        return torch.arange(len(tokens), device=tokens.device)


class CachedDecoder:
    """One sequence through the layers of a Whisper decoder, with caches of fixed size.

    ``model``: a ``WhisperForConditionalGeneration``, whose modules are used as they are.
    """

    def __init__(self, model: Any) -> None:
        self.decoder, self.project = model.get_decoder(), model.proj_out
        config, weight = model.config, model.proj_out.weight
        self.slots = config.max_target_positions
        layers, heads = len(self.decoder.layers), config.decoder_attention_heads
        # Keys and values of each layer, head by head in one piece: read in strides they take a CPU twice as long.
        shape = (layers, 2, 1, heads, self.slots, config.d_model // heads)
        self.own = weight.new_zeros(shape)
        self.cross = weight.new_zeros(*shape[:4], config.max_source_positions, shape[-1])

    def listen(self, encoder_states: torch.Tensor) -> None:
        """Project the encoder's output, shape ``(1, max_source_positions, width)``, for every layer: once a window."""
        for layer, (keys, values) in zip(self.decoder.layers, self.cross, strict=True):
            attention = layer.encoder_attn
            keys.copy_(_heads(attention.k_proj(encoder_states), attention))
            values.copy_(_heads(attention.v_proj(encoder_states), attention))

    def forget(self) -> None:
        """Clear the slots, for passes that look at all of them.

        What is masked counts for 0, but 0 of NaN is NaN: an overflow in half precision would stay for every window.
        """
        self.own.zero_()

    def logits(
        self, tokens: torch.Tensor, positions: torch.Tensor, length: int, mask: torch.Tensor | None, keep: int
    ) -> torch.Tensor:
        """Logits after the last ``keep`` of ``tokens``, shape ``(keep, vocabulary)``.

        ``tokens`` and ``positions``: int64, shape ``(n,)``; their keys and values are written to the caches.
        ``length``: slots of the caches to look at; ``mask``: 0 for those that each token may see, minus infinity for
        others, ``(n, length)``.
        """
        decoder = self.decoder
        hidden = (decoder.embed_tokens(tokens) + decoder.embed_positions.weight[positions])[None]
        for layer, (keys, values), (cross_keys, cross_values) in zip(decoder.layers, self.own, self.cross, strict=True):
            attention, state = layer.self_attn, layer.self_attn_layer_norm(hidden)
            keys.index_copy_(2, positions, _heads(attention.k_proj(state), attention))
            values.index_copy_(2, positions, _heads(attention.v_proj(state), attention))
            hidden = hidden + _attend(attention, state, keys[:, :, :length], values[:, :, :length], mask)
            state = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + _attend(layer.encoder_attn, state, cross_keys, cross_values, None)
            state = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(state)))
        return self.project(decoder.layer_norm(hidden[0, -keep:]))


def _heads(state: torch.Tensor, attention: Any) -> torch.Tensor:
    """``(1, n, width)`` to ``(1, heads, n, width / heads)``."""
    return state.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)


def _attend(
    attention: Any, state: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    query = _heads(attention.q_proj(state) * attention.scaling, attention)  # scaled first, as Transformers does
    read = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0)
    return attention.out_proj(read.transpose(1, 2).flatten(2))


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
    """Decodes windows one after another; greedy, or with a student that drafts.

    A round (arXiv 2211.17192, for greedy choice): the student writes ``draft_tokens``, the teacher chooses at each of
    their places and the one after in a single pass, and its choices hold as far as the drafts agree with them, and one
    further. So the tokens are the teacher's, whatever the student writes. Without a student a round is one token.

    ``graphs``: every round is one captured graph; needs ``device.graphs_unavailable()`` to be empty. ``draft_tokens``:
    at most in a round. ``sure``: the probability below which a draft is the round's last; graphs cannot look.
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
    ) -> None:
        self.device, self.graphs, self.sure = device, graphs, sure
        if draft_tokens is None:
            draft_tokens = GRAPH_DRAFT_TOKENS if graphs else DRAFT_TOKENS
        self.teacher = CachedDecoder(teacher)
        self.student = CachedDecoder(student) if student is not None else None
        self.draft_tokens = draft_tokens if student is not None else 0
        self.end_token = teacher.generation_config.eos_token_id
        self.vocabulary = teacher.config.vocab_size
        self.generation_config = teacher.generation_config
        where: dict[str, Any] = {"dtype": torch.long, "device": teacher.device}
        slots = self.teacher.slots
        self.tokens = torch.zeros(slots + self.draft_tokens + 2, **where)
        self.indices = torch.arange(slots + self.draft_tokens + 2, **where)
        self.position = torch.zeros(1, **where)  # of the last token that is settled; read by graphs only
        self.accepted = torch.zeros(1, **where)
        config = teacher.config
        self.encoder_states = (
            torch.zeros(1, config.max_source_positions, config.d_model, dtype=teacher.dtype, device=teacher.device)
            if graphs
            else None
        )
        self._rules: dict[tuple[int, bool], TokenRules] = {}
        self._replays: dict[tuple[int, bool, bool], Callable[[], None]] = {}
        self._listen: Callable[[], None] | None = None

    def prepare(self, prompt_length: int, *, timestamps: bool) -> None:
        """Capture the graphs for prompts of this length, outside the clock; nothing to do without graphs."""
        if not self.graphs:
            return
        rules = self._rules_for(prompt_length, timestamps=timestamps)
        if self._listen is None:
            self._listen = self.device.capture(self._listen_to_static)
            self._listen()  # a capture runs nothing: rounds that warm up must not read memory that nobody wrote
        for first in (True, False):
            self.position.fill_(prompt_length - first)  # where such a round may find it
            run = functools.partial(self._static_round, rules, first=first)
            self._replays[prompt_length, timestamps, first] = self.device.capture(run)

    def decode(
        self,
        encoder_states: torch.Tensor,
        prompt: Sequence[int],
        *,
        timestamps: bool,
        max_length: int,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
        ends: bool = True,
    ) -> Decoded:
        """Tokens after ``prompt``, until the end token or until there are ``max_length`` with the prompt.

        ``encoder_states``: shape ``(1, frames, width)``. ``check`` is called before every round, and may raise.
        ``clock`` is read after every round, and never waits for the device. ``ends``: false to go on after the end
        token, for timing a fixed length.
        """
        rules = self._rules_for(len(prompt), timestamps=timestamps)
        self.tokens[: len(prompt)] = torch.tensor(prompt, device=self.tokens.device)
        end = self.end_token if ends else None
        max_length = min(max_length, self.teacher.slots)
        if self.graphs:
            return self._decode_by_graphs(encoder_states, rules, max_length, check, clock=clock, end=end)
        self._listen_to(encoder_states)
        found, position, first = Decoded([]), len(prompt) - 1, True
        while position + 1 < max_length:
            check()
            drafts = self._draft(
                rules, position, min(self.draft_tokens, max_length - 2 - position), first=first, end=end
            )
            choices, accepted = self._round(rules, position, drafts, first=first)
            count = int(accepted) if drafts else 0
            found.passes += 1
            found.drafted += drafts
            found.accepted += count
            position += count + 1
            first = False
            if found.add(choices[: count + 1].tolist(), end, clock):
                break
        return found

    # -- one round

    def _draft(self, rules: TokenRules, position: Any, drafts: int, *, first: bool, end: int | None = None) -> int:
        """Let the student write after ``position``: so many tokens, or up to the end, or to one it is unsure of.

        Returns how many it wrote. It has read all that is settled but at most the last two tokens, so that it begins by
        reading two; in the first round, by reading the prompt.
        """
        if not drafts or self.student is None:
            return 0
        start, count = (0, rules.prompt_length) if first else (position - 1, 2)
        for draft in range(drafts):
            choices, scores = self._pass(self.student, rules, start, count, keep=1)
            if not self.graphs and (
                int(choices) == end or (self.sure > 0 and float(scores.softmax(dim=-1).amax()) < self.sure)
            ):
                return draft + 1
            start, count = position + draft + 1, 1
        return drafts

    def _round(
        self, rules: TokenRules, position: Any, drafts: int, *, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor | int]:
        """Choose and compare: the teacher's choices, of which one more than accepted hold.

        ``position``: of the last settled token, which the teacher has not read yet; the first round reads the prompt.
        ``drafts``: tokens that the student wrote after it.
        """
        start, count = (0, rules.prompt_length + drafts) if first else (position, 1 + drafts)
        if not drafts:
            return self._pass(self.teacher, rules, start, count, keep=1)[0], 0
        proposed = self.tokens[self.indices[:drafts] + position + 1]
        choices, _ = self._pass(self.teacher, rules, start, count, keep=drafts + 1)
        return choices, (choices[:drafts] == proposed).long().cumprod(dim=0).sum()

    def _pass(
        self, decoder: CachedDecoder, rules: TokenRules, start: Any, count: int, keep: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read ``count`` tokens from ``start`` on, choose what follows the last ``keep`` of them, write it there.

        Returns the choices and the scores that they are the best of.
        """
        positions = self.indices[:count] + start
        mask = None
        if self.graphs:
            # Drafts beyond the last slot are never used; they may write to the last one, which nobody reads after.
            positions, length = positions.clamp(max=decoder.slots - 1), decoder.slots
        else:
            length = start + count
        if self.graphs or count > 1:  # as numbers, once: given as booleans, every layer would turn them into numbers
            hidden = self.indices[:length] > positions[:, None]
            mask = torch.zeros_like(hidden, dtype=decoder.own.dtype).masked_fill_(hidden, -torch.inf)
        logits = decoder.logits(self.tokens[positions], positions, length, mask, keep)
        following = positions[-keep:] + 1
        scores = rules.scores(logits, self.tokens, following)
        choices = scores.argmax(dim=-1)
        self.tokens.index_copy_(0, following, choices)
        return choices, scores

    def _listen_to(self, encoder_states: torch.Tensor) -> None:
        self.teacher.listen(encoder_states)
        if self.student is not None:
            self.student.listen(encoder_states)

    def _rules_for(self, prompt_length: int, *, timestamps: bool) -> TokenRules:
        key = prompt_length, timestamps
        if key not in self._rules:
            self._rules[key] = TokenRules(
                self.generation_config,
                prompt_length=prompt_length,
                timestamps=timestamps,
                vocabulary=self.vocabulary,
                device=self.tokens.device,
            )
        return self._rules[key]

    # -- rounds as graphs: positions and counts stay on the device

    def _listen_to_static(self) -> None:
        if self.encoder_states is None:
            raise RuntimeError("a loop without graphs has no place for the encoder's output")
        for decoder in filter(None, (self.teacher, self.student)):
            decoder.forget()
        self._listen_to(self.encoder_states)

    def _static_round(self, rules: TokenRules, *, first: bool) -> None:
        drafts = self._draft(rules, self.position, self.draft_tokens, first=first)
        _, accepted = self._round(rules, self.position, drafts, first=first)
        self.accepted.add_(accepted)
        self.position.add_(accepted + 1)

    def _decode_by_graphs(
        self,
        encoder_states: torch.Tensor,
        rules: TokenRules,
        max_length: int,
        check: Callable[[], None],
        *,
        clock: Callable[[], float] | None,
        end: int | None,
    ) -> Decoded:
        prompt = rules.prompt_length
        if (prompt, rules.timestamps, True) not in self._replays:
            self.prepare(prompt, timestamps=rules.timestamps)
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
                self._replays[prompt, rules.timestamps, rounds == 0]()
                rounds += 1
            position, accepted, *tokens = torch.cat([self.position, self.accepted, self.tokens]).tolist()
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
        self._states = weight.new_zeros(1, encoder.config.max_source_positions, encoder.config.d_model)
        self._encoder = encoder
        self._replay = device.capture(self._run)

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        """``window``: shape ``(1, n_mels, window_frames)``."""
        self._window.copy_(window)
        self._replay()
        return self._states

    def _run(self) -> None:
        self._states.copy_(self._encoder(self._window).last_hidden_state)
