"""Lab: what every entry talks to. Settings in; comparisons, counts and benchmarks out. No page and no chart."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from components.core import catalog
from components.core.audio import load_audio
from components.core.errors import CheckpointError, LaneError, WhisperSpaceError
from components.core.fitting import check_fit
from components.core.manifests import read_manifest
from components.core.normalizers import DEFAULT
from components.core.normalizers import normalizer as find_normalizer
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import BASELINE_LANE, STUDENT_LANE, WINDOW_S, LaneFailure, LongForm, Models
from components.engines import device as devices
from components.engines.base import DecodingOptions
from components.engines.checkpoints import load_kind, load_libraries
from components.engines.counting import model_info
from components.engines.hub import Downloads
from components.engines.pool import SHARING, Pool
from components.runs.compare import compare
from components.runs.line import MAX_FETCHING, MAX_WAITING, Line
from components.runs.measure import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from components.core.audio import Source as AudioSource
    from components.core.settings import Settings
    from components.core.types import AudioClip, Comparison, LaneSpec, ModelInfo, Report
    from components.runs.benchmark import Step
    from components.runs.compare import Progress
    from components.runs.shard import Share
    from components.runs.sources import Item, Source

logger = logging.getLogger(__name__)

MAX_REPEATS = 100
"""Timed runs of a lane in one comparison; for more, a benchmark is the better tool."""

WARM_UP_MANIFEST = catalog.EXAMPLES
"""Its first clip with words in it is what engines are warmed up on before anybody asks."""


class Lab:
    """The use cases over one set of settings and one device, on which one measurement runs at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = devices.detect()
        self.pool = Pool(settings, self.device)
        self.downloads = Downloads(settings.token)
        self.line = Line()
        self.benchmarks = Line()
        """Visitors' benchmarks: several at once would load and evict each other's pairs, clip by clip."""
        self.places_first = devices.zero_gpu()
        """Whether ``place`` has to end before the page is launched, in the thread that made this Lab: ZeroGPU hands
        requests what is on the device at the launch. Elsewhere the page comes first."""
        self._unplaced: dict[LaneSpec, str] = {}
        self._custom_pair_fits = False
        self._run = devices.gpu(_gpu_duration_s)(self._compare_clip)

    # -- what may be chosen

    @property
    def default_pair(self) -> str:
        return self.settings.resolve_pair(self.device.hardware)

    @property
    def offered_pairs(self) -> tuple[str, ...]:
        """The pairs that these settings offer; on ZeroGPU those of them that were placed, and the default one."""
        pairs = self.settings.resolve_pairs(self.device.hardware, self.downloads.available)
        return tuple(pair for pair in pairs if pair == self.default_pair or self._placed(pair))

    def offered_lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """The lanes of a pair that these settings offer; on ZeroGPU those of them that can be placed.

        Raises:
            CheckpointError: the pair is not offered; the message lists those that are.
        """
        return self._offered(pair or self.default_pair)

    def default_lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """The lanes that run where nobody chooses: those that ``LANES`` names, else the pair's two models.

        Raises:
            CheckpointError: the pair is not offered.
        """
        return self.choose_lanes(pair, None)

    def choose_lanes(self, pair: str | None, lanes: Sequence[str] | None) -> tuple[LaneSpec, ...]:
        """Check a choice of pair and lanes against what is offered; ``None`` and nothing mean the defaults.

        Raises:
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered.
        """
        offered = self._offered(pair or self.default_pair)
        if not lanes:
            return tuple(lane for lane in offered if self._is_default(lane))
        by_id = {lane.lane_id: lane for lane in offered}
        if unknown := [lane for lane in lanes if lane not in by_id]:
            raise LaneError(f"There is no lane called “{unknown[0]}” here. Choose from: {', '.join(by_id)}.")
        return tuple(by_id[lane] for lane in dict.fromkeys(lanes))

    def _offered(self, pair: str) -> tuple[LaneSpec, ...]:
        if pair not in self.offered_pairs:
            choices = ", ".join(self.offered_pairs)
            raise CheckpointError(f"There is no pair called “{pair}” here. Choose one of: {choices}.")
        return tuple(lane for lane in self._lanes(pair) if lane not in self._unplaced or self._is_default(lane))

    def _lanes(self, pair: str) -> tuple[LaneSpec, ...]:
        return catalog.lane_specs(self.settings.get_pair(pair), self.settings.lanes)

    def _is_default(self, lane: LaneSpec) -> bool:
        return bool(self.settings.lanes) or catalog.LANES[lane.lane_id].default

    def _placed(self, pair: str) -> bool:
        return not any(lane in self._unplaced for lane in self._lanes(pair) if self._is_default(lane))

    # -- the use cases

    def compare(
        self,
        source: AudioSource | None,
        *,
        reference: str = "",
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        repeats: int = 1,
        long_form: LongForm = "sequential",
        timestamps: bool = True,
        normalizer: str = DEFAULT,
        clip_id: str | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Comparison:
        """Run one clip through the lanes of a pair; see ``runs.compare``.

        Waits while another measurement runs; the wait is never inside the clock.

        Raises:
            AudioError: the audio cannot be used.
            CheckpointError: the pair is not offered, or its two checkpoints do not fit each other.
            LaneError: a lane is not offered, or ``repeats`` or ``long_form`` is not one of the choices.
            TextError: the reference is too long, or there is no such normaliser.
            BusyError: too many wait already, for the device or for downloads.
            Cancelled: ``cancelled()`` turned true, while waiting or within one token.
        """
        specs = self.choose_lanes(pair, lanes)
        if not 1 <= repeats <= MAX_REPEATS:
            raise LaneError(f"Repeats must be a whole number from 1 to {MAX_REPEATS}.")
        if long_form not in get_args(LongForm):
            raise LaneError(
                f"There is no long form called “{long_form}”. Choose from: {', '.join(get_args(LongForm))}."
            )
        self._check_fit(pair)
        options = DecodingOptions(self.settings.language, timestamps=timestamps, long_form=long_form)
        return self._compare(
            source,
            clip_id=clip_id,
            lanes=specs,
            options=options,
            pair_id=pair or self.default_pair,
            reference=reference.strip() or None,
            normalizer=normalizer,
            repeats=repeats,
            bounded=True,
            progress=progress,
            cancelled=cancelled,
        )

    def models(self, pair: str | None = None) -> Models:
        """Parameters and layers of each default lane, from the configuration alone.

        Device, dtype and attention are filled for the lanes that are loaded.

        Raises:
            CheckpointError: the pair is not offered, its two checkpoints do not fit each other, or a configuration
                cannot be read.
        """
        self._check_fit(pair)
        lanes = tuple(self._model_info(lane) for lane in self.default_lanes(pair))
        return Models(pair=pair or self.default_pair, lanes=lanes)

    def benchmark(
        self,
        source: Source | str | Path,
        output: str | Path,
        **options: Any,
    ) -> Report:
        """Run a whole data set through the lanes, a row for each clip and lane; see ``benchmark_steps``.

        Args:
            source: The clips; a path is that of a manifest.
            output: The file of rows.
            options: Those of ``benchmark_steps``.
        """
        from components.runs.benchmark import read_report

        for _ in self.benchmark_steps(source, output, **options):
            pass
        return read_report(output)

    def benchmark_steps(
        self,
        source: Source | str | Path,
        output: str | Path,
        *,
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        repeats: int = 1,
        resume: bool = False,
        retry_failed: bool = False,
        limit: int | None = None,
        seed: int | None = None,
        normalizer: str = DEFAULT,
        share: Share | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Step]:
        """Run a data set clip by clip, for one who wants to watch; see ``runs.benchmark.steps``.

        Another measurement may come between two clips, never within one.

        Raises:
            ManifestError: the data set cannot be read, or the output is there already or belongs to another run.
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered, or ``repeats`` is out of range.
            TextError: there is no such normaliser.
            Cancelled: ``cancelled()`` turned true; the rows written so far are kept.
        """
        from components.runs.benchmark import as_source, steps
        from components.runs.shard import ALONE

        specs = self.choose_lanes(pair, lanes)
        if not 1 <= repeats <= MAX_REPEATS:
            raise LaneError(f"Repeats must be a whole number from 1 to {MAX_REPEATS}.")
        pair = pair or self.default_pair
        self._check_fit(pair)
        options = DecodingOptions(self.settings.language)

        def compare_item(item: Item, missing: Sequence[LaneSpec], baseline_tokens: int | None) -> Comparison:
            return self._compare(
                item.audio,
                clip_id=item.clip_id,
                lanes=missing,
                options=options,
                pair_id=pair,
                reference=item.text,
                normalizer=normalizer,
                repeats=repeats,
                baseline_tokens=baseline_tokens,
                cancelled=cancelled,
            )

        return steps(
            as_source(source),
            Path(output),
            compare_item,
            lanes=specs,
            pair_id=pair,
            settings=self._shared_settings(specs, repeats) | {"normalizer": find_normalizer(normalizer).version},
            resume=resume,
            retry_failed=retry_failed,
            limit=limit,
            seed=seed,
            share=share or ALONE,
            progress=progress,
        )

    def stamp(self, pair: str | None = None) -> dict[str, str]:
        """What a figure holds for: pair, device, dtype, attention and runtime, as used or as they will be tried."""
        load_libraries()
        first = self.default_lanes(pair)[0]
        engine = self.pool.loaded(first)
        return {
            "pair": pair or self.default_pair,
            "device_name": self.device.name,
            **self.pool.stamp(first),
            "note": engine.runtime_note if engine is not None else "",
        }

    def place(self) -> None:
        """Load and warm the default pair before anybody asks; on ZeroGPU load everything that is offered.

        What cannot be loaded is logged here and shown to whoever asks for it.
        """
        load_libraries()
        if self.places_first:
            lanes = [lane for pair in self.offered_pairs for lane in self.offered_lanes(pair)]
            self._unplaced = {
                lane: f"{lane.label} needs the GPU to be loaded, and ZeroGPU lends it within requests alone."
                for lane in lanes
                if lane.backend not in SHARING
            }
            lanes = [lane for lane in lanes if lane not in self._unplaced]
        else:
            lanes = list(self.default_lanes())
        lanes, refused = self._fetch(lanes)  # before the device is held: other pairs are served meanwhile
        if self.places_first:
            self._unplaced |= refused | self._place_all(lanes)  # in this very thread, for which alone a GPU is played
        else:
            self.line.run(lambda: self._place_all(lanes))

    # -- how

    def _place_all(self, lanes: Sequence[LaneSpec]) -> dict[LaneSpec, str]:
        """Those that could not be placed, and why."""
        refused = {}
        for lane in lanes:
            try:
                self._place(lane)
            except WhisperSpaceError as error:
                logger.warning("%s is not ready: %s", lane.label, error.message)
                refused[lane] = error.message
        return refused

    def _place(self, lane: LaneSpec) -> None:
        engine = self.pool.get(lane)
        if self.places_first:
            return  # the GPU is there only within a request, and each process warms its own
        rows = read_manifest(WARM_UP_MANIFEST) if WARM_UP_MANIFEST.exists() else ()
        if spoken := next((row for row in rows if row.text), None):
            warm_up(engine, load_audio(spoken.audio), DecodingOptions(self.settings.language))

    def _fetch(
        self,
        lanes: Sequence[LaneSpec],
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        places: int | None = None,
    ) -> tuple[list[LaneSpec], dict[LaneSpec, str]]:
        """Have the lanes' files here; those that have them, and for each other one the reason, for a person."""
        ready, refused = [], {}
        for lane in lanes:
            if lane in self._unplaced:
                refused[lane] = self._unplaced[lane]
                continue
            try:
                self._fetch_lane(lane, progress, cancelled, places)
                ready.append(lane)
            except CheckpointError as error:
                logger.warning("%s cannot be fetched: %s", lane.lane_id, error.message, exc_info=error.__cause__)
                refused[lane] = error.message
        return ready, refused

    def _fetch_lane(
        self, lane: LaneSpec, progress: Progress | None, cancelled: Callable[[], bool] | None, places: int | None
    ) -> None:
        def tell(fraction: float, size: int) -> None:
            if progress is not None:
                progress(fraction, f"Fetching {lane.label} from the hub: {fraction:.0%} of {size / 1e6:,.0f} MB")

        for part in self.pool.missing(lane):
            self.downloads.fetch(part.checkpoint, part.revision, places=places, progress=tell, cancelled=cancelled)

    def _check_fit(self, pair: str | None) -> None:
        """Refuse the pair of the variables where its two checkpoints are of different kinds.

        A checkpoint that cannot be reached is no reason: its lane fails with its own.
        """
        load_libraries()
        if (pair or self.default_pair) != CUSTOM_PAIR or self._custom_pair_fits:
            return
        kinds = []
        for lane in catalog.lane_specs(self.settings.get_pair(CUSTOM_PAIR), (BASELINE_LANE, STUDENT_LANE)):
            try:
                kinds.append(load_kind(lane, self.settings.token))
            except CheckpointError:
                return
        check_fit(*kinds)
        self._custom_pair_fits = True

    def _compare(
        self,
        source: AudioSource | None,
        *,
        lanes: Sequence[LaneSpec],
        clip_id: str | None,
        bounded: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        **arguments: Any,
    ) -> Comparison:
        """Fetch, wait for the device, read the clip, run.

        In this order: others may use the device while files arrive; to decode while another is timed would slow it.
        ``bounded``: refused where too many wait already.
        """

        def tell(before: int) -> None:
            if progress is not None:
                progress(0.0, f"Waiting for the device: {before} before you")

        def run() -> Comparison:
            clip = load_audio(source, clip_id=clip_id, max_audio_s=self.settings.max_audio_s)
            # On ZeroGPU the run is in a process of its own, which no callback can reach.
            callbacks: dict[str, Any] = {} if self.places_first else {"progress": progress, "cancelled": cancelled}
            # Silence, and lanes of which none is here, are answered without a GPU.
            needed = ready and find_speech(clip).worth_asking
            return (self._run if needed else self._compare_clip)(clip=clip, lanes=ready, **arguments, **callbacks)

        ready, refused = self._fetch(lanes, progress, cancelled, MAX_FETCHING if bounded else None)
        comparison = self.line.run(run, places=MAX_WAITING if bounded else None, tell=tell, cancelled=cancelled)
        failures = (
            LaneFailure(clip_id=comparison.clip_id, lane_id=lane.lane_id, message=message)
            for lane, message in refused.items()
        )
        return comparison.model_copy(update={"failures": (*comparison.failures, *failures)})

    def _compare_clip(self, *, clip: AudioClip, lanes: Sequence[LaneSpec], **arguments: Any) -> Comparison:
        """What runs on the device: ``runs.compare`` with this pool, and on ZeroGPU in a process of its own."""
        return compare(clip, lanes, self.pool, **arguments)

    def _shared_settings(self, lanes: Sequence[LaneSpec], repeats: int) -> dict[str, Any]:
        """What rows of one file must agree on: among it, the state of checkpoints that are folders."""
        from components.engines.checkpoints import folder_state

        settings = self.settings
        read = {lane.lane_id: lane.checkpoint for lane in lanes}
        read |= {f"{lane.lane_id}, assistant": lane.assistant for lane in lanes if lane.assistant}
        folders = {name: state for name, checkpoint in read.items() if (state := folder_state(checkpoint))}
        return {
            "language": settings.language,
            "dtype": settings.dtype,
            "attention": settings.attention,
            "runtime": settings.runtime,
            "repeats": repeats,
            "folders": folders,
        }

    def _model_info(self, lane: LaneSpec) -> ModelInfo:
        if (engine := self.pool.loaded(lane)) is not None:
            return engine.info.model_copy(
                update={"lane_id": lane.lane_id, "checkpoint": catalog.checkpoint_name(lane.checkpoint)}
            )
        config = catalog.architecture(lane.checkpoint)
        if config is None:
            from components.engines.checkpoints import load_config

            return model_info(lane, load_config(lane, self.settings.token))
        return model_info(lane, config)


def _gpu_duration_s(*, clip: AudioClip, lanes: Sequence[LaneSpec], repeats: int, **_: Any) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a start, then a tenth of what each run of a lane hears.

    One run is to warm up, on a window at most.
    """
    warm_up_s = 1 + min(clip.audio_length_s, WINDOW_S) / 10
    return round(20 + len(lanes) * (warm_up_s + repeats * (1 + clip.audio_length_s / 10)))
