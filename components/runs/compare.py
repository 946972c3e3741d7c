"""One clip through several lanes: loaded, warmed up, timed one after another in alternating order, and scored."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from components.core import catalog, scoring
from components.core.caller import NOBODY, Caller
from components.core.errors import Cancelled, WhisperSpaceError
from components.core.languages import language_name
from components.core.normalizers import DEFAULT, check_reference
from components.core.normalizers import normalizer as find_normalizer
from components.core.speech import find_speech, within_speech
from components.core.types import BASELINE_LANE, WINDOW_S, Comparison, LaneFailure, LaneRun, Transcript
from components.engines import device as devices
from components.runs.measure import lower_median, measure, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.core.types import AudioClip, LaneSpec
    from components.engines.base import DecodingOptions, Engine
    from components.engines.pool import Pool
    from components.runs.measure import Measurement

logger = logging.getLogger(__name__)

State = Literal["waiting", "loading", "running"]
"""What a lane without a result is doing; ``loading`` includes the warm-up."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 5
"""Timed runs of each lane where the caller does not say how many."""

ENOUGH_S = 2.0
"""Seconds of generation measured in each lane, after which there need not be ``MOST_ROUNDS``."""

SLOW_S = 10.0
"""Seconds of generation from which a lane is measured once."""

SURE = 0.5
"""Probability from which a detected language is set against the one that the models were told."""

BUSY_RATIO = 1.2
"""Encoder times further apart than this, of encoders that are alike, mean that the machine was busy."""

SAME_ENCODER = {"loop": "eager"}
"""Runtimes that run the encoder as another one does."""


@dataclass(frozen=True)
class Step:
    """Where a comparison stands; one is made whenever a lane goes over to something else.

    ``text``: what is being done, for a person; ``fraction``: how much of all is done, from 0 to 1. ``states``: the
    lanes without a result, in their order. ``comparison``: the lanes that have run or failed so far, ``None`` before
    the first; in the last step it is whole, and ``states`` is empty. With several rounds a lane has a result after its
    first one, and later steps bring it up to date.
    """

    text: str
    fraction: float = 0.0
    states: Mapping[str, State] = field(default_factory=dict)
    comparison: Comparison | None = None


@dataclass
class Entry:
    """A lane that is loaded, and its runs so far; ``batch_size`` is how many clips were in the latest."""

    lane: LaneSpec
    engine: Engine
    batch_size: int = 1
    measurements: list[Measurement] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        return [measurement.timing.generation_time_s for measurement in self.measurements]


def compare(clip: AudioClip, lanes: Sequence[LaneSpec], pool: Pool, caller: Caller = NOBODY, **how: Any) -> Comparison:
    """Run every lane over one clip and return the whole result. ``how``: what ``Session`` takes.

    Raises:
        Cancelled: the caller left.
    """
    *_, last = Session(clip, lanes, pool, caller, **how, partial=False).steps()
    return cast("Comparison", last.comparison)


@dataclass
class Session:
    """One clip through its lanes in the order A B B A, and what there is of it so far.

    Loading, warming up and detecting the language lie outside the clock, and so does what is done between two steps. A
    lane that fails becomes a ``LaneFailure`` and leaves the others alone. Silence, and what is too short for speech,
    are answered without the engines, since models write "Thank you" on it. Where no speech was found, or a model
    repeated itself, the words are kept and the times are not.

    Args:
        clip: The clip; every lane gets the same samples.
        lanes: The lanes, in the order of the result.
        pool: Where the engines come from.
        caller: Told what is being done; may leave at any token.
        options: How to decode; the same for every lane. With ``language=None`` the teacher's lane, or else the first,
            detects it once for all.
        pair_id: Noted in the result.
        reference: What was said: ``""`` for nothing at all, ``None`` where it is not known.
        normalizer: What reference and transcript are compared as; one of ``normalizers.NORMALIZERS``.
        repeats: Timed runs of each lane. ``None``: three to five, fewer where two seconds are measured, and one
            where a lane takes over ten.
        baseline_tokens: Tokens of the ``whisper`` lane on this clip, where it is known and not among ``lanes``.
        hear_language: Detect the language also where it is told, and note where the two disagree.
        student_languages: Codes of the languages that the student knows; noted where the clip's is none of them.
        partial: Whether steps before the last one have what there is so far; scoring it takes time.
        failures: By lane id, why lanes failed, for a person; those that failed before, to begin with.

    Raises:
        TextError: the reference is too long, or there is no such normaliser.
    """

    clip: AudioClip
    lanes: Sequence[LaneSpec]
    pool: Pool
    caller: Caller
    options: DecodingOptions
    pair_id: str
    reference: str | None = None
    normalizer: str = DEFAULT
    repeats: int | None = None
    baseline_tokens: int | None = None
    hear_language: bool = False
    student_languages: tuple[str, ...] = ()
    partial: bool = True
    failures: dict[str, str] = field(default_factory=dict)

    entries: dict[str, Entry] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    parts: int = 0
    parts_done: int = 0
    hears_later: bool = False

    def __post_init__(self) -> None:
        check_reference(self.reference or "")
        find_normalizer(self.normalizer)
        self.failures = dict(self.failures)
        self.notes += self.clip.notes

    @property
    def worth_asking(self) -> bool:
        """Whether the clip holds anything that a model should be asked about."""
        return find_speech(self.clip).worth_asking

    def steps(self) -> Iterator[Step]:
        """Do the work; before each part of it, yield what is going to be done. What is loaded and warm is no part.

        Raises:
            Cancelled: the caller left.
        """
        if self.worth_asking:
            yield from self.prepare()
            yield from self._measure()
        self.caller.tell(1.0, "Done")
        yield Step("Done", 1.0, comparison=self.result())

    def prepare(self) -> Iterator[Step]:
        """Load the lanes, settle the language, warm up: all that lies before the clock."""
        self.states = dict.fromkeys((lane.lane_id for lane in self.lanes), "waiting")
        to_load = sum(self.pool.loaded(lane) is None for lane in self.lanes)
        self.parts = to_load + len(self.lanes) * (bool(to_load) + (self.repeats or LEAST_ROUNDS))
        yield from self._load()
        yield from self._find_language()
        yield from self._warm_up(again=to_load > 0)  # what was loaded took memory that the others had kept

    def result(self) -> Comparison:
        """What has been measured, or what is said of a clip that no model was asked about."""
        if not self.worth_asking:
            return self._comparison([self._silent_run(lane) for lane in self.lanes])
        return self._comparison(_marked_if_busy(self._runs(), self.entries))

    def _load(self) -> Iterator[Step]:
        for lane in self.lanes:
            if self.pool.loaded(lane) is None:
                yield self._step(lane, "loading", self.pool.preparation(lane) or f"Loading {lane.label}")
            with self.noting_failure(lane):
                self.entries[lane.lane_id] = Entry(lane, self.pool.get(lane, beside=self.lanes))

    def _find_language(self) -> Iterator[Step]:
        """Detect the language once for all lanes, where nobody told it or where it is to be held against that.

        Where somebody waits for the first words, the latter comes after them: detecting takes as long as the encoder.
        """
        entry = self.entries.get(BASELINE_LANE) or next(iter(self.entries.values()), None)
        self.hears_later = self.partial and self.hear_language and self.options.language is not None
        asked = self.options.language is None or (self.hear_language and not self.hears_later)
        if entry is not None and asked:
            yield from self._detect_language(entry)
        if self.options.language and self.student_languages and self.options.language not in self.student_languages:
            known = ", ".join(map(language_name, self.student_languages))
            self.notes.append(
                f"This is decoded as {language_name(self.options.language)}; the student was trained on {known} alone."
            )

    def _detect_language(self, entry: Entry) -> Iterator[Step]:
        yield self._step(entry.lane, "loading", "Detecting the language")
        with self.noting_failure(entry.lane):
            heard, probability = entry.engine.detect_language(self.clip, self.caller)
            told = self.options.language
            if told is None:
                self.options = replace(self.options, language=heard)
            elif heard != told and probability == 1:  # as English-only models answer
                self.notes.append(
                    f"These models know {language_name(heard)} alone, and were told {language_name(told)}."
                )
            elif heard != told and probability >= SURE:
                self.notes.append(
                    f"This sounds like {language_name(heard)} ({probability:.0%}), and the models were told "
                    f"{language_name(told)}: their words may be invented."
                )

    def _warm_up(self, *, again: bool) -> Iterator[Step]:
        for entry in self.working():
            if again or not entry.engine.warm:
                yield self._step(entry.lane, "loading", f"Warming up {entry.lane.label}")
            with self.noting_failure(entry.lane):
                warm_up(entry.engine, self.clip, self.options, self.caller, again=again)
            self.states[entry.lane.lane_id] = "waiting"

    def _measure(self) -> Iterator[Step]:
        number = 0
        while self.working() and not self._enough(number):
            for entry in self.working() if number % 2 == 0 else reversed(self.working()):
                yield self._step(entry.lane, "running", f"Running {entry.lane.label}{self._round(number)}")
                with self.noting_failure(entry.lane):
                    entry.measurements.append(measure(entry.engine, self.clip, self.options, self.caller))
                if self.hears_later:
                    self.hears_later = False
                    yield from self._detect_language(entry)
            number += 1

    def _enough(self, rounds: int) -> bool:
        """Whether so many rounds are enough."""
        if self.repeats is not None or not rounds:
            return rounds == self.repeats
        seconds = [entry.seconds for entry in self.working()]
        if any(each[0] > SLOW_S for each in seconds) or rounds >= MOST_ROUNDS:
            return True
        return rounds >= LEAST_ROUNDS and all(sum(each) >= ENOUGH_S for each in seconds)

    def _round(self, number: int) -> str:
        if self.repeats is None:
            return f", round {number + 1}" if number else ""
        return f", {number + 1} of {self.repeats}" if self.repeats > 1 else ""

    def working(self) -> list[Entry]:
        """The lanes that are loaded and have not failed."""
        return [entry for lane_id, entry in self.entries.items() if lane_id not in self.failures]

    def _step(self, lane: LaneSpec, state: State, text: str) -> Step:
        """Tell what comes next, unless nobody wants it any more.

        Raises:
            Cancelled: the caller left.
        """
        self.caller.check()
        self.states[lane.lane_id] = state
        fraction = min(1.0, self.parts_done / self.parts)
        self.caller.tell(fraction, text)
        self.parts_done += 1
        runs = self._runs() if self.partial else []
        over = {run.lane_id for run in runs} | self.failures.keys()
        states = {lane_id: each for lane_id, each in self.states.items() if lane_id not in over}
        return Step(text, fraction, states, self._comparison(runs) if over else None)

    @contextlib.contextmanager
    def noting_failure(self, lane: LaneSpec) -> Iterator[None]:
        """Where a lane fails, note why, for a person; the cause goes to the log."""
        try:
            yield
        except Cancelled:
            raise
        except WhisperSpaceError as error:
            logger.warning("%s failed: %s", lane.lane_id, error.message, exc_info=True)
            self.failures[lane.lane_id] = error.message
        except Exception as error:
            logger.exception("%s failed", lane.lane_id)
            self.failures[lane.lane_id] = _explanation(lane, error)

    def _runs(self) -> list[LaneRun]:
        measured = [entry for entry in self.working() if entry.measurements]
        baseline_tokens = self.baseline_tokens
        for entry in measured:
            if entry.lane.lane_id == BASELINE_LANE:
                baseline_tokens = entry.measurements[0].output.generated_tokens
        return [self._scored_run(entry, baseline_tokens) for entry in measured]

    def _scored_run(self, entry: Entry, baseline_tokens: int | None) -> LaneRun:
        timings = tuple(measurement.timing for measurement in entry.measurements)
        median = entry.measurements[lower_median(timings)]
        output, info = median.output, entry.engine.info
        counts = find_speech(self.clip).counts_as_speed and not any(each.output.looped for each in entry.measurements)
        peaks = [peak for peak in (each.peak_memory_bytes for each in entry.measurements) if peak is not None]
        signs = scoring.warning_signs(output.transcript.text, output.generated_tokens, baseline_tokens, output.ended)
        return LaneRun(
            **self._about(entry.lane),
            **scores(self.reference, output.transcript, self.normalizer),
            text=output.transcript.text,
            segments=within_speech(output.transcript.segments, find_speech(self.clip).spans),
            language=output.transcript.language,
            **(dict(median.timing) if counts else {}),
            repeats=timings if counts else (),
            generated_tokens=output.generated_tokens,
            dtype=info.dtype or "",
            attention=info.attention or "",
            runtime=entry.engine.runtime,
            warnings=(*_heard(self.clip), *output.warnings, *signs),
            acceptance_rate=output.acceptance_rate,
            tokens_per_pass=output.tokens_per_pass,
            peak_memory_bytes=max(peaks, default=None),
            batch_size=entry.batch_size,
            long_form=self.options.long_form if self.clip.audio_length_s > WINDOW_S else None,
            token_times_s=output.token_times_s,
        )

    def _silent_run(self, lane: LaneSpec) -> LaneRun:
        stamp = self.pool.stamp(lane)
        return LaneRun(
            **self._about(lane),
            **scores(self.reference, Transcript("", (), self.options.language), self.normalizer),
            text="",
            language=self.options.language,
            generated_tokens=0,
            dtype=stamp["dtype"],
            attention=stamp["attention"],
            runtime=stamp["runtime"],
            warnings=_heard(self.clip),
        )

    def _about(self, lane: LaneSpec) -> dict[str, Any]:
        return {
            "clip_id": self.clip.clip_id,
            "lane_id": lane.lane_id,
            "checkpoint": catalog.checkpoint_name(lane.checkpoint),
            "audio_length_s": self.clip.audio_length_s,
        }

    def _comparison(self, runs: Sequence[LaneRun]) -> Comparison:
        notes = tuple(self.notes)
        return Comparison(
            clip_id=self.clip.clip_id,
            audio_length_s=self.clip.audio_length_s,
            pair=self.pair_id,
            language=self.options.language,
            notes=notes,
            runs=tuple(run.model_copy(update={"notes": notes}) for run in runs),
            failures=tuple(
                LaneFailure(clip_id=self.clip.clip_id, lane_id=lane_id, message=message)
                for lane_id, message in self.failures.items()
            ),
            machine=devices.machine(),
        )


def scores(reference: str | None, transcript: Transcript, normalizer: str) -> dict[str, Any]:
    """The fields of a row that need a reference; none without one. ``normalizer``: see ``core.normalizers``."""
    if reference is None:
        return {}
    score = scoring.word_errors(reference, transcript.text, transcript.language, normalizer)
    return {
        "reference": reference,
        "normalized_reference": score.normalized_reference,
        "normalized_text": score.normalized_text,
        "word_errors": score.errors,
        "normalizer": score.errors.normalizer,
        "dropped": score.dropped,
    }


def _explanation(lane: LaneSpec, error: Exception) -> str:
    if devices.is_out_of_memory(error):
        devices.detect().release_memory()
        return f"Memory ran out while {lane.label} was running. Use a shorter clip or a smaller pair."
    return f"{lane.label} failed on this clip ({type(error).__name__}). The log says more."


def _marked_if_busy(runs: Sequence[LaneRun], entries: Mapping[str, Entry]) -> list[LaneRun]:
    """The runs, marked where encoders that are alike took times too far apart."""
    alike: dict[tuple[object, ...], list[float]] = {}
    for run in (run for run in runs if run.encoder_time_s):
        size = entries[run.lane_id].engine.info.encoder_parameters
        key = size, run.dtype, run.attention, SAME_ENCODER.get(run.runtime, run.runtime)
        alike.setdefault(key, []).append(run.encoder_time_s or 0.0)
    busy = any(max(times) > BUSY_RATIO * min(times) for times in alike.values())
    return [run.model_copy(update={"busy": True}) for run in runs] if busy else list(runs)


def _heard(clip: AudioClip) -> tuple[str, ...]:
    warning = find_speech(clip).warning
    return () if warning is None else (warning,)
