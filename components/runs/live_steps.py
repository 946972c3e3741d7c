"""A recording, or a microphone, through several lanes as if live; then once more as a whole, to see what live lost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from components.core import catalog
from components.core.audio import load_audio
from components.core.errors import WhisperSpaceError
from components.core.manifests import read_manifest
from components.core.types import AudioClip, LaneFailure, LaneRun, Live, LiveFigures, LivePass, Transcript
from components.engines import device as devices
from components.engines.cache import cache_folder
from components.runs.compare import compare, scores
from components.runs.live import LiveLane, LiveRun
from components.runs.pace import LONG_S, Paces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from components.core.caller import Caller
    from components.core.types import LaneSpec
    from components.engines.base import DecodingOptions
    from components.engines.pool import Pool
    from components.runs.live import Recording

POLL_S = 0.1
"""Seconds between two looks for new audio of a microphone."""

DRAFTED = "Each pass checks the words of the one before it all at once; it writes the same without."

LANGUAGE_S = 5.0
"""Seconds of a microphone that the language is told from."""


def paces_of_this_machine() -> Paces:
    """Measured on the shipped clips, kept beside the hub's cache."""
    return Paces(cache_folder("live") / "steps.json", long_example)


def long_example() -> AudioClip:
    """The first shipped clip of a person that is long enough."""
    for row in read_manifest(catalog.EXAMPLES):
        clip = load_audio(row.audio) if row.text else None
        if clip is not None and clip.audio_length_s > LONG_S:
            return clip
    raise FileNotFoundError(catalog.EXAMPLES)


class LiveSteps:
    """One live run from its first pass to its result.

    Args:
        lanes: The lanes, in the order of the result.
        pool: Where the engines come from.
        paces: What the lanes' schedules are made of.
        options: How to decode; the same for every lane. With ``language=None`` the first lane detects it.
        pair_id: Noted in the result.
        reference: What was said; ``None`` where it is not known.
        normalizer: What reference and transcript are compared as.
        caller: Who waits.
        recording: What is said; it may grow, in another thread, until it has ended.
        on_device: Calls a function while the device is held, for one pass at a time: others may come between two.
    """

    def __init__(
        self,
        lanes: Sequence[LaneSpec],
        pool: Pool,
        paces: Paces,
        caller: Caller,
        *,
        options: DecodingOptions,
        pair_id: str,
        normalizer: str,
        reference: str | None = None,
        clip_id: str = "recording",
        recording: Recording,
        on_device: Callable[[Callable[[], Any]], Any] = lambda function: function(),
    ) -> None:
        self.specs = lanes
        self.pool = pool
        self.paces = paces
        self.caller = caller
        self.options = replace(options, timestamps=True, long_form="sequential")
        self.pair_id = pair_id
        self.reference = reference
        self.normalizer = normalizer
        self.clip_id = clip_id
        self.recording = recording
        self.on_device = on_device
        self.lanes: list[LiveLane] = []
        self.failures: list[LaneFailure] = []
        self._passes: list[LivePass] = []
        self._prepared = False

    def prepare(self) -> None:
        """Get the lanes ready, unless they are.

        Raises:
            Cancelled: the caller left.
        """
        if not self._prepared:
            self.on_device(self._prepare)
            self._prepared = True

    def steps(self) -> Iterator[LivePass | Live]:
        """Yield each pass as it is done, and at last the whole result.

        Raises:
            Cancelled: the caller left.
        """
        self.prepare()
        self._wait_for_the_language()
        run = LiveRun(self.lanes, self.recording, self.options, self.caller)
        while not (run.finished and self.recording.ended):
            if not run.is_due():
                time.sleep(POLL_S)
            elif (done := self.on_device(run.next_pass)) is not None:
                self._passes.append(done)
                yield done
        yield self.on_device(self._result)

    def _wait_for_the_language(self) -> None:
        """Where nobody said it, let the first lane find it once enough has been spoken; the same for all lanes."""
        if self.options.language is not None or not self.lanes:
            return
        while not self.recording.ended and self.recording.length_s < LANGUAGE_S:
            self.caller.check()
            time.sleep(POLL_S)
        clip = AudioClip(self.clip_id, self.recording.samples())
        language, _ = self.on_device(lambda: self.lanes[0].engine.detect_language(clip, self.caller))
        self.options = replace(self.options, language=language)

    def _prepare(self) -> None:
        """Load the lanes, and find each lane's pace."""
        for spec in self.specs:
            self.caller.tell(0.0, self.pool.preparation(spec) or f"Loading {spec.label}")
            try:
                engine = self.pool.get(spec, beside=self.specs)
                self.caller.tell(0.0, f"Timing {spec.label} on a shipped clip")
                pace = self.paces.of(engine, self._key(spec), replace(self.options, language="en"), self.caller)
                self.lanes.append(LiveLane(spec, engine, pace))
            except WhisperSpaceError as error:
                self.failures.append(LaneFailure(clip_id=self.clip_id, lane_id=spec.lane_id, message=error.message))
        drafts = all(lane.engine.runtime == "loop" for lane in self.lanes)  # all of them check drafts, or none does
        for lane in self.lanes:
            lane.drafts = drafts

    def _key(self, spec: LaneSpec) -> str:
        stamp, machine = self.pool.stamp(spec), devices.machine()
        parts = (spec.backend, spec.checkpoint, spec.revision, spec.assistant, *stamp.values())
        return " ".join(map(str, (*parts, machine.device_name, machine.threads)))

    def _result(self) -> Live:
        """The rows of the live run, beside those of the whole recording at once."""
        for lane in self.lanes:
            self.paces.check(self._key(lane.lane), lane.work)
        clip = AudioClip(self.clip_id, self.recording.samples())
        self.caller.tell(1.0, "Transcribing the whole recording at once, to see what live lost")
        offline = compare(
            clip,
            [lane.lane for lane in self.lanes],
            self.pool,
            self.caller,
            options=self.options,
            pair_id=self.pair_id,
            reference=self.reference,
            normalizer=self.normalizer,
            repeats=1,
        )
        runs = [self._row(lane, run) for lane in self.lanes if (run := offline.run(lane.lane.lane_id)) is not None]
        notes = (*offline.notes, *((DRAFTED,) if any(lane.drafts for lane in self.lanes) else ()))
        update = {"runs": tuple(runs), "failures": (*self.failures, *offline.failures), "notes": notes}
        live = offline.model_copy(update=update)
        return Live(live=live, passes=tuple(self._passes), offline=offline)

    def _row(self, lane: LiveLane, offline: LaneRun) -> LaneRun:
        """A lane's live row: what it had committed at the end, and its lags; no times of a whole clip."""
        transcript = Transcript(lane.text.strip(), (), offline.language)
        nothing = dict.fromkeys(("feature_time_s", "encoder_time_s", "decoder_time_s", "generation_time_s"))
        update = {
            "text": transcript.text,
            "segments": (),
            "repeats": (),
            "end_to_end_time_s": None,
            "token_times_s": None,
            "lags": lane.lags(),
            "live": LiveFigures(
                pass_lags_s=tuple((each.compute_lag_s, each.policy_lag_s) for each in lane.passes),
                offline_text=offline.text,
                offline_errors=offline.word_errors,
            ),
            **nothing,
            **scores(self.reference, transcript, self.normalizer),
        }
        return offline.model_copy(update=update)
