"""Lab: what every entry talks to. Settings in; comparisons, counts and benchmarks out. No page and no chart."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from components.core import catalog
from components.core.audio import load_audio
from components.core.caller import NOBODY, Caller
from components.core.errors import LaneError
from components.core.languages import LANGUAGE_NAMES
from components.core.normalizers import DEFAULT
from components.core.normalizers import normalizer as find_normalizer
from components.core.settings import AUTO
from components.core.speech import find_speech
from components.core.types import WINDOW_S, LaneFailure, LongForm, Models
from components.engines import device as devices
from components.engines.base import DecodingOptions
from components.engines.checkpoints import load_libraries
from components.engines.counting import model_info
from components.engines.pool import Pool
from components.runs.compare import LEAST_ROUNDS, Step, compare, compare_steps
from components.runs.live import Recording
from components.runs.live_steps import LiveSteps, paces_of_this_machine
from components.runs.offer import Offer
from components.runs.queue import MAX_FETCHING, MAX_WAITING, Waiting, WorkQueue
from components.runs.ready import Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from components.core.audio import Source as AudioSource
    from components.core.settings import Settings
    from components.core.types import AudioClip, Comparison, LaneSpec, Live, LivePass, ModelInfo, Report
    from components.runs.benchmark import Step as BenchmarkStep
    from components.runs.compare import State
    from components.runs.shard import Process
    from components.runs.sources import Item, Source

    Fetched = tuple[list[LaneSpec], dict[LaneSpec, str]]
    Result = TypeVar("Result")

MAX_REPEATS = 100
"""Timed runs of a lane in one comparison; for more, a benchmark is the better tool."""


class Lab:
    """The use cases over one set of settings and one device, on which one measurement runs at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = devices.detect()
        self.pool = Pool(settings, self.device)
        self.ready = Ready(settings, self.pool)
        self.offer = Offer(settings, self.device.hardware, self.ready.downloads.available, self.ready.unavailable)
        self.queue = WorkQueue()
        self.benchmarks = WorkQueue("another benchmark")
        """Visitors' benchmarks: several at once would load and evict each other's pairs, clip by clip."""
        self.paces = paces_of_this_machine()
        self._live_on_gpu = devices.gpu(_live_duration_s)(self._live_whole)
        self._compare_on_gpu = devices.gpu(_gpu_duration_s)(self._compare)

    @property
    def default_pair(self) -> str:
        return self.offer.default_pair

    @property
    def offered_pairs(self) -> tuple[str, ...]:
        return self.offer.pairs

    def offered_lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """See ``Offer.lanes``."""
        return self.offer.lanes(pair)

    def default_lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """The lanes that run where nobody chooses; see ``Offer.choose``."""
        return self.offer.choose(pair)

    def compare(self, source: AudioSource | None, *, caller: Caller = NOBODY, **choices: Any) -> Comparison:
        """Run one clip through the lanes of a pair, and wait for the result; see ``compare_steps``."""
        *_, last = self._steps(source, caller, watched=False, **self._checked(**choices))
        return cast("Comparison", last.comparison)

    def compare_steps(self, source: AudioSource | None, *, caller: Caller = NOBODY, **choices: Any) -> Iterator[Step]:
        """Run one clip through the lanes of a pair, and say how it goes; the last step has the whole result.

        Waits while another measurement runs. Where the caller stops reading, the work stops soon.

        Args:
            source: A file, its content, or sampling rate and samples; see ``core.audio.load_audio``.
            caller: Told what is being done; may leave at any time.
            choices: ``pair``, ``lanes``: of those on offer, by their ids. ``reference``: what was said.
                ``normalizer``: how words are compared, see ``core.normalizers``. ``repeats``: timed runs of each lane,
                see ``runs.compare``. ``language``: a code, or ``auto`` to have it detected. ``long_form``:
                ``sequential``, ``chunked``, or ``auto`` for the pair's own. ``timestamps``: whether to write segments.
                ``clip_id``: what the clip is called, unless after its file.

        Raises:
            AudioError: the audio cannot be used.
            CheckpointError: the pair is not offered, or its two checkpoints do not fit each other.
            LaneError: another choice is not one of those there are.
            BusyError: too many wait already, for the device or for downloads.
            Cancelled: the caller left.
        """
        left = threading.Event()
        checked = self._checked(**choices)
        lanes = checked["lanes"]
        try:
            fetched = yield from _told(lambda relay: self._fetch(lanes, relay), caller, _waiting(lanes))
            yield from self._steps(source, caller.until(left), watched=True, fetched=fetched, **checked)
        finally:
            left.set()

    def live(self, source: AudioSource | None, *, caller: Caller = NOBODY, **choices: Any) -> Iterator[LivePass | Live]:
        """Run a clip through the lanes as if somebody were speaking it; yields each pass, and at last the result.

        Another measurement may come between two passes. ``choices`` and errors: those of ``compare_steps``.
        """
        checked = self._checked(**choices)
        clip = load_audio(source, clip_id=checked["clip_id"], max_audio_s=self.settings.max_audio_s, caller=caller)
        checked["clip_id"] = clip.clip_id
        if self.ready.before_launch:
            yield from self._live_on_gpu(clip=clip, **checked)
            return
        yield from self._live(Recording(clip.samples), caller, self._holding_device(caller), **checked).steps()

    def listen(self, recording: Recording, *, caller: Caller = NOBODY, **choices: Any) -> LiveSteps:
        """Lanes that listen to a recording that another thread makes; read their ``steps``.

        Raises:
            LaneError: on ZeroGPU, which lends its GPU to single calls; or as ``compare_steps``.
        """
        if self.ready.before_launch:
            raise LaneError("On ZeroGPU live is for recordings only: it lends the GPU for one call at a time.")
        checked = self._checked(**{"clip_id": "recording", **choices})
        return self._live(recording, caller, self._holding_device(caller), **checked)

    def models(self, pair: str | None = None) -> Models:
        """Parameters and layers of each default lane, from the configuration alone.

        Device, dtype and attention are filled for the lanes that are loaded.

        Raises:
            CheckpointError: the pair is not offered, its two checkpoints do not fit each other, or a configuration
                cannot be read.
        """
        pair = pair or self.default_pair
        load_libraries()
        self.ready.check_fit(pair)
        return Models(pair=pair, lanes=tuple(self._model_info(lane) for lane in self.offer.choose(pair)))

    def benchmark(self, source: Source | str | Path, output: str | Path, **options: Any) -> Report:
        """Run a whole data set through the lanes, a row for each clip and lane; see ``benchmark_steps``."""
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
        language: str | None = None,
        normalizer: str = DEFAULT,
        process: Process | None = None,
        caller: Caller = NOBODY,
        **options: Any,
    ) -> Iterator[BenchmarkStep]:
        """Run a data set clip by clip, and say how it goes.

        Another measurement may come between two clips, never within one.

        Args:
            source: The clips; a path is that of a manifest.
            output: The file of rows.
            pair: Of those on offer, as ``lanes``.
            lanes: The pair's two models, unless given.
            repeats: Timed runs of each lane on each clip.
            language: A code, or ``auto``; a clip whose data set names its language is decoded in that one.
            normalizer: How words are compared, see ``core.normalizers``.
            process: Which of several this is.
            caller: Told what is being done; may leave at any time. The rows written so far are kept.
            options: ``resume``, ``retry_failed``, ``limit``, ``seed``: see ``runs.benchmark.steps``.

        Raises:
            ManifestError: the data set cannot be read, or the output is there already or belongs to another run.
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered, or ``repeats`` is out of range.
            Cancelled: the caller left.
        """
        from components.runs.benchmark import as_source, steps
        from components.runs.shard import ONLY_PROCESS

        choices = self._checked(
            pair=pair, lanes=lanes, repeats=repeats, language=language, normalizer=normalizer, long_form="sequential"
        )
        specs = choices["lanes"]

        def compare_item(item: Item, missing: Sequence[LaneSpec], baseline_tokens: int | None) -> Comparison:
            known = {"lanes": missing, "clip_id": item.clip_id, "reference": item.text, "hear_language": False}
            quiet = Caller(cancelled=caller.cancelled)
            *_, last = self._steps(
                item.audio, quiet, watched=False, bounded=False, **choices | known, baseline_tokens=baseline_tokens
            )
            return cast("Comparison", last.comparison)

        return steps(
            as_source(source),
            Path(output),
            compare_item,
            lanes=specs,
            pair_id=choices["pair_id"],
            settings=self._shared_settings(specs, repeats, choices["options"].language)
            | {"normalizer": find_normalizer(normalizer).version},
            process=process or ONLY_PROCESS,
            caller=caller,
            **options,
        )

    def stamp(self, pair: str | None = None) -> dict[str, str]:
        """What a figure holds for: pair, device, dtype, attention and runtime, as used or as they will be tried."""
        load_libraries()
        first = self.offer.choose(pair)[0]
        engine = self.pool.loaded(first)
        return {
            "pair": pair or self.default_pair,
            "device_name": self.device.name,
            **self.pool.stamp(first),
            "note": engine.runtime_note if engine is not None else "",
        }

    @property
    def loads_before_launch(self) -> bool:
        """Whether ``load`` has to end before the page is launched; see ``Ready``."""
        return self.ready.before_launch

    def load(self) -> None:
        """Load and warm the default pair before anybody asks; on ZeroGPU load all that is offered.

        What cannot be loaded is logged, and told to whoever asks for it.
        """
        load_libraries()
        if not self.ready.before_launch:
            lanes, _ = self.ready.fetch(self.offer.choose())  # other pairs are served meanwhile
            self.queue.run(lambda: self.ready.load(lanes))
            return
        self.ready.leave_out_what_needs_the_gpu(lane for pair in self.offer.pairs for lane in self.offer.lanes(pair))
        lanes, refused = self.ready.fetch(lane for pair in self.offer.pairs for lane in self.offer.lanes(pair))
        refused |= self.ready.load(lanes)
        self.ready.unavailable.update(refused)

    # -- how

    def _checked(
        self,
        *,
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        reference: str = "",
        repeats: int | None = None,
        language: str | None = None,
        long_form: str = AUTO,
        timestamps: bool = True,
        normalizer: str = DEFAULT,
        clip_id: str | None = None,
    ) -> dict[str, Any]:
        """A caller's choices as arguments of ``_steps``; see ``compare_steps`` for both."""
        specs = self.offer.choose(pair, lanes)
        pair = pair or self.default_pair
        if repeats is not None and not 1 <= repeats <= MAX_REPEATS:
            raise LaneError(f"Repeats must be a whole number from 1 to {MAX_REPEATS}.")
        _one_of("long form", long_form, (AUTO, *get_args(LongForm)))
        language = language or self.settings.language
        _one_of("language", language, (AUTO, *LANGUAGE_NAMES))
        load_libraries()
        self.ready.check_fit(pair)
        if long_form == AUTO:
            long_form = self.settings.get_pair(pair).long_form
        return {
            "lanes": specs,
            "clip_id": clip_id,
            "pair_id": pair,
            "options": DecodingOptions(
                None if language == AUTO else language, timestamps=timestamps, long_form=cast("LongForm", long_form)
            ),
            "reference": reference.strip() or None,
            "repeats": repeats,
            "normalizer": find_normalizer(normalizer).name,
            "hear_language": True,
        }

    def _steps(
        self,
        source: AudioSource | None,
        caller: Caller,
        *,
        lanes: Sequence[LaneSpec],
        clip_id: str | None,
        watched: bool,
        bounded: bool = True,
        fetched: Fetched | None = None,
        **how: Any,
    ) -> Iterator[Step]:
        """Fetch, wait for the device, read the clip, run.

        In this order: others may use the device while files arrive; to decode while another is timed would slow it.
        ``bounded``: refused where too many wait already. ``how``: arguments of ``runs.compare.compare_steps``.
        """
        ready, refused = fetched or self._fetch(lanes, caller, bounded=bounded)

        def work() -> Iterator[Step]:
            clip = load_audio(source, clip_id=clip_id, max_audio_s=self.settings.max_audio_s, caller=caller)
            # Silence, and lanes of which none is here, are answered without a GPU.
            if self.ready.before_launch and ready and find_speech(clip).worth_asking:
                yield Step("Waiting for a GPU", states=_waiting(ready))
                yield Step("Done", 1.0, comparison=self._compare_on_gpu(clip=clip, lanes=ready, **how))
            elif watched:
                yield from compare_steps(clip, ready, self.pool, caller, **how)
            else:
                yield Step("Done", 1.0, comparison=compare(clip, ready, self.pool, caller, **how))

        for step in self.queue.stream(work, caller, limit=MAX_WAITING if bounded else None):
            if isinstance(step, Waiting):
                yield Step(f"Waiting for the device: {step.before} before you", states=_waiting(ready))
            else:
                yield _with_failures(step, refused)

    def _fetch(self, lanes: Sequence[LaneSpec], caller: Caller, *, bounded: bool = True) -> Fetched:
        return self.ready.fetch(lanes, caller, limit=MAX_FETCHING if bounded else None)

    def _compare(self, *, clip: AudioClip, lanes: Sequence[LaneSpec], **how: Any) -> Comparison:
        """What runs on ZeroGPU, in a process of its own, which no caller can reach."""
        return compare(clip, lanes, self.pool, **how)

    def _holding_device(self, caller: Caller) -> Callable[[Callable[[], Any]], Any]:
        return lambda function: self.queue.run(function, caller, limit=MAX_WAITING)

    def _live(
        self,
        recording: Recording,
        caller: Caller,
        on_device: Callable[[Callable[[], Any]], Any],
        *,
        lanes: Sequence[LaneSpec],
        **how: Any,
    ) -> LiveSteps:
        ready, refused = self.ready.fetch(lanes, caller, limit=MAX_FETCHING)
        wanted = {name: how[name] for name in ("options", "pair_id", "reference", "normalizer", "clip_id")}
        steps = LiveSteps(ready, self.pool, self.paces, caller, recording=recording, on_device=on_device, **wanted)
        steps.failures += failures_of(how["clip_id"], refused)
        return steps

    def _live_whole(self, *, clip: AudioClip, **checked: Any) -> list[LivePass | Live]:
        """What runs on ZeroGPU, in a process of its own, which no caller can reach."""
        return list(self._live(Recording(clip.samples), NOBODY, lambda function: function(), **checked).steps())

    def _shared_settings(self, lanes: Sequence[LaneSpec], repeats: int, language: str | None) -> dict[str, Any]:
        """What rows of one file must agree on: among it, the state of checkpoints that are folders."""
        from components.engines.checkpoints import folder_state

        read = {lane.lane_id: lane.checkpoint for lane in lanes}
        read |= {f"{lane.lane_id}, assistant": lane.assistant for lane in lanes if lane.assistant}
        return {
            "language": language or AUTO,
            "dtype": self.settings.dtype,
            "attention": self.settings.attention,
            "runtime": self.settings.runtime,
            "repeats": repeats,
            "folders": {name: state for name, checkpoint in read.items() if (state := folder_state(checkpoint))},
        }

    def _model_info(self, lane: LaneSpec) -> ModelInfo:
        if (engine := self.pool.loaded(lane)) is not None:
            return engine.info.model_copy(update={"lane_id": lane.lane_id})
        config = catalog.architecture(lane.checkpoint)
        if config is None:
            from components.engines.checkpoints import load_config

            return model_info(lane, load_config(lane, self.settings.token))
        return model_info(lane, config)


def _one_of(what: str, chosen: str, choices: Sequence[str]) -> None:
    if chosen not in choices:
        raise LaneError(f"There is no {what} called “{chosen}”. Choose from: {', '.join(choices)}.")


def _waiting(lanes: Sequence[LaneSpec]) -> dict[str, State]:
    return {lane.lane_id: "waiting" for lane in lanes}


def _told(work: Callable[[Caller], Result], caller: Caller, states: dict[str, State]) -> Generator[Step, None, Result]:
    """Do what blocks in a thread of its own, and yield what it tells its caller as steps; returns its result."""
    told: SimpleQueue[Step | None] = SimpleQueue()
    left = threading.Event()

    def tell(fraction: float, text: str) -> None:
        caller.tell(fraction, text)
        told.put(Step(text, fraction, states))

    thread = ThreadPoolExecutor(1)
    future = thread.submit(copy_context().run, work, Caller(tell, caller.cancelled).until(left))
    future.add_done_callback(lambda _: told.put(None))
    try:
        while (step := told.get()) is not None:
            yield step
    except GeneratorExit:
        left.set()
        raise
    finally:
        thread.shutdown(wait=False)
    return future.result()


def _with_failures(step: Step, refused: dict[LaneSpec, str]) -> Step:
    """The step with lanes that never reached the device."""
    comparison = step.comparison
    if comparison is None or not refused:
        return step
    failures = failures_of(comparison.clip_id, refused)
    return replace(step, comparison=comparison.model_copy(update={"failures": (*comparison.failures, *failures)}))


def failures_of(clip_id: str, refused: dict[LaneSpec, str]) -> tuple[LaneFailure, ...]:
    """A failure for each lane that never reached the device."""
    return tuple(
        LaneFailure(clip_id=clip_id, lane_id=lane.lane_id, message=message) for lane, message in refused.items()
    )


def _live_duration_s(*, clip: AudioClip, lanes: Sequence[LaneSpec], **_: Any) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a pass takes half a second at most, and there are two a second of audio."""
    return round(40 + len(lanes) * clip.audio_length_s)


def _gpu_duration_s(*, clip: AudioClip, lanes: Sequence[LaneSpec], repeats: int | None, **_: Any) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a start, then a tenth of what each run of a lane hears.

    One run is to warm up, on a window at most.
    """
    warm_up_s = 1 + min(clip.audio_length_s, WINDOW_S) / 10
    rounds = LEAST_ROUNDS if repeats is None else repeats
    return round(20 + len(lanes) * (warm_up_s + rounds * (1 + clip.audio_length_s / 10)))
