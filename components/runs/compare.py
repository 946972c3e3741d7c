"""One clip through several lanes: loaded, warmed up, then timed one after another in alternating order."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core import catalog, scoring
from components.core.caller import Caller
from components.core.errors import Cancelled, WhisperSpaceError
from components.core.normalizers import DEFAULT, check_reference
from components.core.normalizers import normalizer as find_normalizer
from components.core.speech import find_speech
from components.core.types import BASELINE_LANE, Comparison, LaneFailure, LaneRun, Transcript
from components.engines import device as devices
from components.runs.measure import lower_median, measure, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.types import AudioClip, LaneSpec
    from components.engines.base import DecodingOptions, Engine
    from components.engines.pool import Pool
    from components.runs.measure import Measurement

    Progress = Callable[[float, str], None]

logger = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A lane that is loaded, and its runs so far."""

    lane: LaneSpec
    engine: Engine
    measurements: list[Measurement] = field(default_factory=list)


@dataclass
class _Course:
    """Tells the person what is being done, stops when asked to, and keeps the lanes that failed apart."""

    steps: int
    progress: Progress | None
    cancelled: Callable[[], bool] | None
    done: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, lane: LaneSpec, what: str) -> Iterator[None]:
        """Do one step of one lane. Where it fails, note why, for a person; the cause goes to the log."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled
        if self.progress is not None:
            self.progress(self.done / self.steps, what)
        self.done += 1
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


def compare(
    clip: AudioClip,
    lanes: Sequence[LaneSpec],
    pool: Pool,
    *,
    options: DecodingOptions,
    pair_id: str,
    reference: str | None = None,
    normalizer: str = DEFAULT,
    repeats: int = 1,
    baseline_tokens: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Run every lane over one clip ``repeats`` times, in the order A B B A, and score the transcripts.

    Loading and warming up lie outside the clock. A lane that fails becomes a ``LaneFailure`` and leaves the others
    alone. Silence, and what is too short for speech, are answered without the engines, since models
    write "Thank you" on it. Where no speech was found, the words are kept and no time is.

    Args:
        clip: The clip; every lane gets the same samples.
        lanes: The lanes, in the order of the result.
        pool: Where the engines come from.
        options: How to decode; the same for every lane.
        pair_id: Noted in the result.
        reference: What was said: ``""`` for nothing at all, ``None`` where it is not known.
        normalizer: What reference and transcript are compared as; one of ``normalizers.NORMALIZERS``.
        repeats: Timed runs of each lane; at least 1.
        baseline_tokens: Tokens of the ``whisper`` lane on this clip, where it is known and not among ``lanes``.
        progress: Called with a fraction from 0 to 1 and what is being done.
        cancelled: Asked after every token.

    Raises:
        Cancelled: ``cancelled()`` turned true.
        TextError: the reference is too long, or there is no such normaliser; before anything runs.
    """
    check_reference(reference or "")
    find_normalizer(normalizer)
    if not find_speech(clip).worth_asking:
        scores = _scores(Transcript("", (), options.language), reference, normalizer)
        runs = tuple(_silent_run(clip, lane, pool, options, scores) for lane in lanes)
        return Comparison(
            clip_id=clip.clip_id,
            audio_length_s=clip.audio_length_s,
            pair=pair_id,
            language=options.language,
            notes=clip.notes,
            runs=runs,
            machine=devices.machine(),
        )

    caller = Caller(cancelled=cancelled)
    course = _Course(len(lanes) * (2 + repeats), progress, cancelled)
    entries: list[_Entry] = []
    loads = any(pool.loaded(lane) is None for lane in lanes)  # which takes from the others what they keep of memory
    for lane in lanes:
        with course.step(lane, pool.preparation(lane) or f"Loading {lane.label}"):
            entries.append(_Entry(lane, pool.get(lane, beside=lanes)))
    for entry in entries:
        with course.step(entry.lane, f"Warming up {entry.lane.label}"):
            warm_up(entry.engine, clip, options, caller, again=loads)
    for repeat in range(repeats):
        which = f", {repeat + 1} of {repeats}" if repeats > 1 else ""
        for entry in entries if repeat % 2 == 0 else reversed(entries):
            if entry.lane.lane_id not in course.failures:
                with course.step(entry.lane, f"Running {entry.lane.label}{which}"):
                    entry.measurements.append(measure(entry.engine, clip, options, caller))
    if progress is not None:
        progress(1.0, "Done")

    finished = {entry.lane.lane_id: entry for entry in entries if entry.lane.lane_id not in course.failures}
    if BASELINE_LANE in finished:
        baseline_tokens = finished[BASELINE_LANE].measurements[0].output.generated_tokens
    return Comparison(
        clip_id=clip.clip_id,
        audio_length_s=clip.audio_length_s,
        pair=pair_id,
        language=options.language,
        notes=clip.notes,
        runs=tuple(_scored_run(clip, entry, reference, normalizer, baseline_tokens) for entry in finished.values()),
        failures=tuple(
            LaneFailure(clip_id=clip.clip_id, lane_id=lane_id, message=message)
            for lane_id, message in course.failures.items()
        ),
        machine=devices.machine(),
    )


def _explanation(lane: LaneSpec, error: Exception) -> str:
    if devices.is_out_of_memory(error):
        devices.detect().release_memory()
        return f"Memory ran out while {lane.label} was running. Use a shorter clip or a smaller pair."
    return f"{lane.label} failed on this clip ({type(error).__name__}). The log says more."


def _scored_run(
    clip: AudioClip, entry: _Entry, reference: str | None, normalizer: str, baseline_tokens: int | None
) -> LaneRun:
    timings = tuple(measurement.timing for measurement in entry.measurements)
    median = entry.measurements[lower_median(timings)]
    output, info = median.output, entry.engine.info
    counts = find_speech(clip).counts_as_speed and not any(each.output.looped for each in entry.measurements)
    peaks = [peak for peak in (each.peak_memory_bytes for each in entry.measurements) if peak is not None]
    return LaneRun(
        clip_id=clip.clip_id,
        lane_id=entry.lane.lane_id,
        checkpoint=catalog.checkpoint_name(entry.lane.checkpoint),
        text=output.transcript.text,
        segments=output.transcript.segments,
        language=output.transcript.language,
        audio_length_s=clip.audio_length_s,
        **(dict(median.timing) if counts else {}),
        repeats=timings if counts else (),
        generated_tokens=output.generated_tokens,
        dtype=info.dtype or "",
        attention=info.attention or "",
        runtime=entry.engine.runtime,
        **_scores(output.transcript, reference, normalizer),
        warnings=(
            *_heard(clip),
            *output.warnings,
            *scoring.warning_signs(output.transcript.text, output.generated_tokens, baseline_tokens, output.ended),
        ),
        acceptance_rate=output.acceptance_rate,
        tokens_per_pass=output.tokens_per_pass,
        token_times_s=output.token_times_s,
        peak_memory_bytes=max(peaks, default=None),
        notes=clip.notes,
    )


def _heard(clip: AudioClip) -> tuple[str, ...]:
    warning = find_speech(clip).warning
    return () if warning is None else (warning,)


def _silent_run(
    clip: AudioClip, lane: LaneSpec, pool: Pool, options: DecodingOptions, scores: Mapping[str, Any]
) -> LaneRun:
    stamp = pool.stamp(lane)
    return LaneRun(
        clip_id=clip.clip_id,
        lane_id=lane.lane_id,
        checkpoint=catalog.checkpoint_name(lane.checkpoint),
        text="",
        language=options.language,
        audio_length_s=clip.audio_length_s,
        generated_tokens=0,
        dtype=stamp["dtype"],
        attention=stamp["attention"],
        runtime=stamp["runtime"],
        **scores,
        warnings=_heard(clip),
        notes=clip.notes,
    )


def _scores(transcript: Transcript, reference: str | None, normalizer: str) -> dict[str, Any]:
    """The fields of a ``LaneRun`` that need a reference; none without one."""
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
