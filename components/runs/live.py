"""A stream of audio through several lanes, each on its own clock.

Every lane transcribes what it has received so far, again and again, and commits what two passes agree on. The lanes
compute one after another on one device, but each is charged its own compute time alone: its virtual clock shows what it
would do by itself on this machine. A lane that is slower takes in more audio a pass, and shows its text later and more
seldom.

Two kinds of lag are told apart. Compute lag: audio received when a pass ends, less the audio that it processed. Policy
lag: audio processed, less the audio whose words are committed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from components.core.speech import find_speech
from components.core.types import SAMPLING_RATE, AudioClip, Lags, LivePass
from components.runs.agreement import Agreement, timed_segments
from components.runs.live_totals import lag_figures
from components.runs.measure import measure
from components.runs.pace import OFF, decoder_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from components.core.caller import Caller
    from components.core.types import LaneSpec
    from components.engines.base import DecodingOptions, Engine, EngineOutput
    from components.runs.agreement import TimedWord
    from components.runs.pace import Pace

STEP_S = 0.5
"""Least audio that a pass adds to the one before, in seconds."""

GRID_S = 0.1
"""Passes begin at multiples of it."""

FIRST_PASS_S = 1.0
"""Speech that the first pass waits for: of less, models make a word that the second pass does not agree with."""

TRIM_S = 15.0
"""Length of the buffer from which it is cut at the end of a sentence."""

LONGEST_BUFFER_S = 28.0
"""Length at which the buffer is cut at the end of any segment: a pass must fit one window."""

HEARD_S = 2.0
"""Seconds of the newest audio in which speech must be heard for a pass to be worth it."""

SILENCE_S = 15.0
"""Silence after which a lane settles what it has and starts anew."""

SENTENCE_ENDS = (".", "?", "!", "…", "。", "\uff1f", "\uff01")

SLACK = 0.25
"""Share of a pass's expected time by which the measured clock may run behind before the schedule follows it."""


class Recording:
    """Audio as it comes: float32, mono, 16 kHz. ``ended`` once no more will. One thread appends, another reads."""

    def __init__(self, samples: np.ndarray | None = None) -> None:
        self._samples = np.empty(0, dtype=np.float32)
        self._length = 0
        self.ended = False
        if samples is not None:
            self.append(samples)
            self.ended = True

    @property
    def length_s(self) -> float:
        return self._length / SAMPLING_RATE

    def __len__(self) -> int:
        """Samples so far."""
        return self._length

    def append(self, samples: np.ndarray) -> None:
        """Add what was just recorded, shape ``(n,)``."""
        length = self._length + len(samples)
        if length > len(self._samples):
            grown = np.empty(max(length, 2 * len(self._samples)), dtype=np.float32)
            grown[: self._length] = self._samples[: self._length]
            self._samples = grown
        self._samples[self._length : length] = samples
        self._length = length

    def samples(self, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
        """The samples from one time to another; to the end so far without one. Not to be written to."""
        end = self._length if end_s is None else min(self._length, round(end_s * SAMPLING_RATE))
        return self._samples[round(start_s * SAMPLING_RATE) : end]


class LiveLane:
    """One lane of a live run: its buffer, its settled words, its clock.

    The schedule decides what audio a pass gets. It follows what the lane usually takes for the work that a pass was,
    and not the measured time, so that the same recording gives the same words every time; where the measured clock
    runs late by more than ``SLACK``, or a pass is ``OFF`` times as fast, it follows that. The lags are made of measured
    times alone.

    ``drafts``: whether a pass may check the tokens of the one before it all at once; it writes the same without.
    """

    def __init__(self, lane: LaneSpec, engine: Engine, pace: Pace, *, drafts: bool = False) -> None:
        self.lane = lane
        self.engine = engine
        self.pace = pace
        self.drafts = drafts
        self.work: list[tuple[int, float]] = []
        """Of each pass, the decoder's passes in it and the seconds that it took."""
        self.passes: list[LivePass] = []
        self.text = ""
        """All that is committed."""
        self.behind_from_s: float | None = None
        """Since when more audio waits than a buffer may hold; ``None`` while the lane keeps up."""
        self._agreement = Agreement()
        self._settled: list[int] = []
        self._draft: tuple[int, ...] = ()
        self._buffer_start_s = 0.0
        self._audio_end_s = 0.0
        self._committed_end_s = 0.0
        self._last_sound_s = 0.0
        self._speech_from_s: float | None = None
        self._planned_s = 0.0
        self._free_s = 0.0
        self.finished = False

    # -- when

    def next_audio_end_s(self, received_s: float, *, ended: bool) -> float | None:
        """End of the audio for the next pass, in seconds; ``None`` while too little has been received.

        By the lane's schedule a pass begins when the one before it has ended and a step of new audio is there, and
        takes in all that has been received by then, or what the buffer may hold.
        """
        least_s = max(self._audio_end_s + STEP_S, FIRST_PASS_S + (self._speech_from_s or 0.0))
        begin_s = math.ceil(max(least_s, self._ready_s()) / GRID_S - 1e-6) * GRID_S
        end_s = min(begin_s, self._buffer_start_s + LONGEST_BUFFER_S)
        if end_s <= received_s:
            return end_s
        return received_s if ended and received_s > self._audio_end_s else None

    def _ready_s(self) -> float:
        slack_s = max(STEP_S, SLACK * (self._planned_s - self._audio_end_s))
        return self._planned_s if self._free_s <= self._planned_s + slack_s else self._free_s

    # -- what

    def run_pass(
        self, recording: Recording, audio_end_s: float, options: DecodingOptions, caller: Caller
    ) -> LivePass | None:
        """Transcribe the buffer up to ``audio_end_s``; ``None`` where nothing new was heard, and no model was asked.

        Raises:
            Cancelled: the caller does not want it any more.
        """
        new_s = max(self._buffer_start_s, min(self._audio_end_s, audio_end_s - HEARD_S))
        new = AudioClip(self.lane.lane_id, recording.samples(new_s, audio_end_s))
        heard = find_speech(new)
        if not heard.counts_as_speed:
            return self._skip_silence(audio_end_s)
        if self._speech_from_s is None:
            self._speech_from_s = new_s + (heard.spans[0][0] if heard.spans else 0.0)
            if audio_end_s < self._speech_from_s + FIRST_PASS_S:
                return None
        self._last_sound_s = audio_end_s
        begin_s, start_s = max(self._ready_s(), audio_end_s), max(self._free_s, audio_end_s)
        buffer_s = audio_end_s - self._buffer_start_s
        waiting_s = min(start_s, recording.length_s) - self._audio_end_s
        if waiting_s > LONGEST_BUFFER_S and self.behind_from_s is None:
            self.behind_from_s = start_s
        clip = AudioClip(self.lane.lane_id, recording.samples(self._buffer_start_s, audio_end_s))
        measured = measure(self.engine, clip, replace(options, draft=self._draft), caller)
        took_s, steps = measured.timing.end_to_end_time_s, decoder_steps(measured.output)
        expected_s = self.pace.expected_s(steps)
        self.work.append((steps, took_s))
        self._free_s = start_s + took_s
        self._planned_s = begin_s + (expected_s if expected_s <= OFF * took_s else took_s)
        self._audio_end_s = audio_end_s
        self._draft = draft_of(measured.output) if self.drafts else ()
        segments = timed_segments(self.engine, measured.output, self._buffer_start_s)
        settled = self._agreement.update([word for segment in segments for word in segment])
        if buffer_s >= TRIM_S:
            settled += self._trim(segments, full=buffer_s >= LONGEST_BUFFER_S)
        return self._note_pass(start_s, buffer_s, settled)

    def finish(self) -> LivePass | None:
        """Commit what is still tentative: the recording has ended and all of it is processed."""
        self.finished = True
        return self._note_pass(self._free_s, 0.0, settled) if (settled := self._agreement.settle()) else None

    def lags(self) -> Lags | None:
        """Medians, 95th percentiles and maxima over the passes; ``None`` before the first."""
        if not self.passes:
            return None
        ends_s = [each.end_s for each in self.passes]
        first = next((each.end_s for each in self.passes if each.committed), None)
        words_s = [lag_s for each in self.passes for lag_s in each.word_lags_s]
        lags_s = np.array([(each.compute_lag_s, each.policy_lag_s) for each in self.passes])
        return Lags(
            **lag_figures(lags_s),
            pass_interval_s=float(np.median(np.diff([0.0, *ends_s]))),
            first_commit_s=first,
            word_median_s=float(np.median(words_s)) if words_s else None,
            cannot_keep_up_from_s=self.behind_from_s,
        )

    def _skip_silence(self, audio_end_s: float) -> LivePass | None:
        """Move on over silence; after ``SILENCE_S`` of it, commit what is there and start anew."""
        self._audio_end_s = audio_end_s
        if audio_end_s - self._last_sound_s < SILENCE_S or self._buffer_start_s == audio_end_s:
            return None
        settled = self._agreement.settle()
        self._start_anew(audio_end_s)
        return self._note_pass(audio_end_s, 0.0, settled) if settled else None

    def _trim(self, segments: Sequence[Sequence[TimedWord]], *, full: bool) -> list[TimedWord]:
        """Cut the buffer where a sentence ends whose words are all committed; returns what had to be committed for it.

        A full buffer is cut at any end that is committed; where none is, everything in it is, and see ``_cut_of_full``.
        """
        settled: list[TimedWord] = []
        ends = [
            (segment, count)
            for segment, count in zip(segments, accumulate(map(len, segments)), strict=True)
            if segment and segment[-1].end_s > self._buffer_start_s
        ]
        committed = [(segment, count) for segment, count in ends if self._agreement.covers(count)]
        cuts = [(segment, count) for segment, count in committed if self._ends(segment)]
        if full and not cuts:
            cuts = committed
        if full and not cuts:
            settled = self._agreement.settle()
            cuts = self._cut_of_full(ends)
            if not cuts:
                self._start_anew(self._audio_end_s)
        if cuts:
            segment, count = cuts[-1]
            settled += self._agreement.forget(count)
            self._start_buffer(segment[-1].end_s)
        return settled

    def _cut_of_full(self, ends: list[tuple[Sequence[TimedWord], int]]) -> list[tuple[Sequence[TimedWord], int]]:
        """The end of the last segment but one, else of the last: what was not written down is heard again.

        Never within the first half of the buffer, so that it moves on; then there is none, and all of it goes.
        """
        half_s = self._buffer_start_s + LONGEST_BUFFER_S / 2
        return [end for end in ends[-2:] if end[0][-1].end_s > half_s][:1]

    def _ends(self, segment: Sequence[TimedWord]) -> bool:
        text = self.engine.text([token for word in segment for token in word.tokens])
        return text.rstrip().endswith(SENTENCE_ENDS)

    def _start_buffer(self, start_s: float) -> None:
        self._buffer_start_s, self._draft = start_s, ()

    def _start_anew(self, start_s: float) -> None:
        self._start_buffer(start_s)
        self._agreement, self._speech_from_s = Agreement(), None

    def _note_pass(self, start_s: float, buffer_s: float, settled: Sequence[TimedWord]) -> LivePass:
        """Record what a pass settled, and how late it is."""
        end_s = max(self._free_s, self._audio_end_s)
        self._settled += [token for word in settled for token in word.tokens]
        before, self.text = self.text, self.engine.text(self._settled)
        committed_end_s = min(settled[-1].end_s, self._audio_end_s) if settled else self._committed_end_s
        self._committed_end_s = max(self._committed_end_s, committed_end_s)
        done = LivePass(
            lane_id=self.lane.lane_id,
            number=len(self.passes) + 1,
            start_s=start_s,
            end_s=end_s,
            audio_end_s=self._audio_end_s,
            buffer_s=buffer_s,
            committed=self.text[len(before) :],
            tentative=self.engine.text([token for word in self._agreement.tentative for token in word.tokens]),
            compute_lag_s=end_s - self._audio_end_s,
            policy_lag_s=self._audio_end_s - self._committed_end_s,
            word_lags_s=tuple(max(0.0, end_s - each.end_s) for each in settled),
        )
        self.passes.append(done)
        return done


def draft_of(output: EngineOutput) -> tuple[int, ...]:
    """The tokens that the next pass over the same audio, and more, may begin with."""
    window = output.windows[0] if output.windows else None
    return () if window is None or window.looped else window.tokens[: len(window.tokens) - window.ended]


class LiveRun:
    """Several lanes over one recording. They compute one after another; each has its own clock."""

    def __init__(
        self, lanes: Sequence[LiveLane], recording: Recording, options: DecodingOptions, caller: Caller
    ) -> None:
        self.lanes = lanes
        self.recording = recording
        self.options = options
        self.caller = caller

    def next_pass(self) -> LivePass | None:
        """Run the pass whose audio ends first; ``None`` while every lane waits for more audio or has finished.

        Raises:
            Cancelled: the caller does not want it any more.
        """
        while (due := self._due()) is not None:
            lane, audio_end_s = due
            done = (
                lane.finish()
                if audio_end_s is None
                else lane.run_pass(self.recording, audio_end_s, self.options, self.caller)
            )
            if done is not None:
                return done
        return None

    def is_due(self) -> bool:
        """Whether there is a pass to run, or a lane to finish: asked without holding the device.

        Raises:
            Cancelled: the caller does not want it any more.
        """
        return self._due() is not None

    @property
    def finished(self) -> bool:
        return all(lane.finished for lane in self.lanes)

    def passes(self) -> Iterator[LivePass]:
        """All passes over a recording that has ended, in the order in which they run."""
        while (done := self.next_pass()) is not None:
            yield done

    def _due(self) -> tuple[LiveLane, float | None] | None:
        """The lane to run next and the end of its audio; without an end where all is processed and it can finish."""
        self.caller.check()
        ended, received_s = self.recording.ended, self.recording.length_s
        waiting = [lane for lane in self.lanes if not lane.finished]
        ends_s = {lane: lane.next_audio_end_s(received_s, ended=ended) for lane in waiting}
        ready = [(end_s, index) for index, end_s in enumerate(ends_s.values()) if end_s is not None]
        if ready:
            end_s, index = min(ready)
            return waiting[index], end_s
        return (waiting[0], None) if ended and waiting else None
