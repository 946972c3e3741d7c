"""Lab: what every entry talks to. Settings in; comparisons, counts and benchmarks out. No page and no chart."""

from __future__ import annotations

import dataclasses
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

from components.core import catalog
from components.core.audio import load_audio
from components.core.errors import Cancelled, CheckpointError, LaneError, WhisperSpaceError
from components.core.types import LongForm
from components.engines import device as devices
from components.engines.base import DecodingOptions
from components.engines.counting import model_info
from components.engines.pool import Pool
from components.runs.compare import compare
from components.runs.measure import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from components.core.audio import Source
    from components.core.records import ManifestRow
    from components.core.settings import Settings
    from components.core.types import AudioClip, BenchmarkReport, Comparison, LaneSpec, Machine, ModelInfo
    from components.runs.compare import Progress

logger = logging.getLogger(__name__)

MAX_REPEATS = 100
"""Timed runs of a lane in one comparison; for more, a benchmark is the better tool."""

POLL_S = 0.05
"""Seconds between two looks of one who waits for the device at whether they are still wanted."""

WARM_UP_CLIPS = catalog.ROOT / "examples" / "audio"


class Lab:
    """The use cases over one set of settings and one device, on which one measurement runs at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = devices.detect()
        self.pool = Pool(settings, self.device)
        self._measuring = threading.Lock()
        self._run = devices.gpu(_gpu_duration_s)(self._compare_clip)

    # -- what may be chosen

    @property
    def default_pair(self) -> str:
        return self.settings.resolve_pair(self.device.kind == "cuda")

    @property
    def offered_pairs(self) -> tuple[str, ...]:
        return self.settings.resolve_pairs(self.device.kind == "cuda")

    def offered_lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """The lanes of a pair that these settings offer.

        Raises:
            CheckpointError: the pair is not offered; the message lists those that are.
        """
        return self.choose_lanes(pair, None)

    def choose_lanes(self, pair: str | None, lanes: Sequence[str] | None) -> tuple[LaneSpec, ...]:
        """Check a choice of pair and lanes against what is offered; ``None`` and nothing mean the default, and all.

        Raises:
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered.
        """
        pair = pair or self.default_pair
        if pair not in self.offered_pairs:
            choices = ", ".join(self.offered_pairs)
            raise CheckpointError(f"There is no pair called “{pair}” here. Choose one of: {choices}.")
        offered = catalog.lane_specs(self.settings.get_pair(pair), self.settings.lanes)
        if not lanes:
            return offered
        by_id = {lane.lane_id: lane for lane in offered}
        if unknown := [lane for lane in lanes if lane not in by_id]:
            raise LaneError(f"There is no lane called “{unknown[0]}” here. Choose from: {', '.join(by_id)}.")
        return tuple(by_id[lane] for lane in dict.fromkeys(lanes))

    # -- the use cases

    def compare(
        self,
        source: Source | None,
        *,
        reference: str = "",
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        repeats: int = 1,
        long_form: LongForm = "sequential",
        timestamps: bool = True,
        clip_id: str | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Comparison:
        """Run one clip through the lanes of a pair; see ``runs.compare``.

        Waits while another measurement runs; the wait is never inside the clock.

        Raises:
            AudioError: the audio cannot be used.
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered, or ``repeats`` or ``long_form`` is not one of the choices.
            Cancelled: ``cancelled()`` turned true, while waiting or within one token.
        """
        specs = self.choose_lanes(pair, lanes)
        if not 1 <= repeats <= MAX_REPEATS:
            raise LaneError(f"Repeats must be a whole number from 1 to {MAX_REPEATS}.")
        if long_form not in get_args(LongForm):
            raise LaneError(
                f"There is no long form called “{long_form}”. Choose from: {', '.join(get_args(LongForm))}."
            )
        options = DecodingOptions(self.settings.language, timestamps=timestamps, long_form=long_form)
        return self._compare(
            source,
            clip_id=clip_id,
            lanes=specs,
            options=options,
            pair_id=pair or self.default_pair,
            reference=reference.strip() or None,
            repeats=repeats,
            progress=progress,
            cancelled=cancelled,
        )

    def models(self, pair: str | None = None) -> tuple[ModelInfo, ...]:
        """Parameters and layers of each lane, from the configuration alone.

        Device, dtype and attention are filled for the lanes that are loaded.

        Raises:
            CheckpointError: the pair is not offered, or a configuration cannot be read.
        """
        return tuple(self._model_info(lane) for lane in self.offered_lanes(pair))

    def benchmark(
        self,
        manifest: str | Path,
        output: str | Path,
        *,
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        repeats: int = 1,
        resume: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BenchmarkReport:
        """Run a whole manifest through the lanes, a row for each clip and lane; see ``runs.benchmark``.

        Raises:
            ManifestError: the manifest cannot be read, or the output is there already or belongs to another run.
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered.
            Cancelled: ``cancelled()`` turned true; the rows written so far are kept.
        """
        from components.runs.benchmark import benchmark

        specs = self.choose_lanes(pair, lanes)
        pair = pair or self.default_pair
        options = DecodingOptions(self.settings.language)

        def compare_row(row: ManifestRow, missing: Sequence[LaneSpec], baseline_tokens: int | None) -> Comparison:
            return self._compare(
                row.audio,
                clip_id=row.clip_id,
                lanes=missing,
                options=options,
                pair_id=pair,
                reference=row.text,
                repeats=repeats,
                baseline_tokens=baseline_tokens,
                cancelled=cancelled,
            )

        return benchmark(
            manifest,
            output,
            compare_row,
            lanes=specs,
            pair_id=pair,
            settings=self._shared_settings(repeats),
            resume=resume,
            progress=progress,
        )

    def machine(self) -> Machine:
        return devices.machine()

    def stamp(self, pair: str | None = None) -> dict[str, str]:
        """What a figure holds for: pair, device, dtype, attention and runtime, as used or as they will be tried."""
        first = self.offered_lanes(pair)[0]
        engine = self.pool.loaded(first)
        return {
            "pair": pair or self.default_pair,
            "device_name": self.device.name,
            **self.pool.stamp(first),
            "note": engine.runtime_note if engine is not None else "",
        }

    def place(self) -> None:
        """Load and warm the default pair before anybody asks; on ZeroGPU load every pair offered.

        What cannot be loaded is logged here and shown to whoever asks for it.
        """
        with self._alone(None, None):
            for pair in self.offered_pairs if devices.zero_gpu() else (self.default_pair,):
                for lane in self.offered_lanes(pair):
                    try:
                        self._place(lane)
                    except WhisperSpaceError as error:
                        logger.warning("%s is not ready: %s", lane.label, error.message)

    # -- how

    def _place(self, lane: LaneSpec) -> None:
        engine = self.pool.get(lane)
        clips = sorted(WARM_UP_CLIPS.glob("*.*"))
        speech = next((clip for clip in clips if clip.suffix in {".flac", ".ogg", ".wav"}), None)
        if speech is not None and not devices.zero_gpu():  # where the GPU is only there within a request
            warm_up(engine, load_audio(speech), DecodingOptions(self.settings.language))

    def _compare(
        self,
        source: Source | None,
        *,
        clip_id: str | None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        **arguments: Any,
    ) -> Comparison:
        """Read the clip, wait for the device, run."""
        clip = load_audio(source, clip_id=clip_id, max_audio_s=self.settings.max_audio_s)
        with self._alone(progress, cancelled):
            # On ZeroGPU the run is in a process of its own, which no callback can reach.
            callbacks: dict[str, Any] = {} if devices.zero_gpu() else {"progress": progress, "cancelled": cancelled}
            return self._run(clip=clip, **arguments, **callbacks)

    def _compare_clip(self, *, clip: AudioClip, lanes: Sequence[LaneSpec], **arguments: Any) -> Comparison:
        """What runs on the device: ``runs.compare`` with this pool, and on ZeroGPU in a process of its own."""
        return compare(clip, lanes, self.pool, **arguments)

    def _shared_settings(self, repeats: int) -> dict[str, Any]:
        """What rows of one file must agree on."""
        settings = self.settings
        return {
            "language": settings.language,
            "dtype": settings.dtype,
            "attention": settings.attention,
            "runtime": settings.runtime,
            "repeats": repeats,
        }

    def _model_info(self, lane: LaneSpec) -> ModelInfo:
        if (engine := self.pool.loaded(lane)) is not None:
            return dataclasses.replace(engine.info, lane_id=lane.lane_id)
        config = catalog.architecture(lane.checkpoint)
        if config is None:
            from components.engines.checkpoints import load_config

            return model_info(lane, load_config(lane, self.settings.token))
        return model_info(lane, config)

    @contextmanager
    def _alone(self, progress: Progress | None, cancelled: Callable[[], bool] | None) -> Iterator[None]:
        """Hold the device: two measurements at once would time each other."""
        if not self._measuring.acquire(blocking=False):
            if progress is not None:
                progress(0.0, "Waiting for another measurement to end")
            while not self._measuring.acquire(timeout=POLL_S):
                if cancelled is not None and cancelled():
                    raise Cancelled
        try:
            yield
        finally:
            self._measuring.release()


def _gpu_duration_s(*, clip: AudioClip, lanes: Sequence[LaneSpec], repeats: int, **_: Any) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a start, then a tenth of the clip's length for each run of a lane."""
    runs = len(lanes) * (1 + repeats)  # one to warm up
    return round(20 + runs * (1 + clip.audio_length_s / 10))
