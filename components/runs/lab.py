"""Lab: what every entry talks to. Settings in; comparisons, counts and benchmarks out. No page and no chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core import catalog
from components.core.caller import NOBODY, Caller
from components.core.errors import LaneError
from components.core.normalizers import DEFAULT
from components.core.types import Models
from components.engines import device as devices
from components.engines.checkpoints import load_config, load_libraries
from components.engines.counting import model_info
from components.engines.pool import Pool
from components.runs.live_service import LiveService
from components.runs.offer import Offer
from components.runs.queue import WorkQueue
from components.runs.ready import Ready
from components.runs.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from components.core.audio import Source as AudioSource
    from components.core.settings import Settings
    from components.core.types import Comparison, LaneSpec, Live, LivePass, ModelInfo, Report
    from components.runs.benchmark import Step as BenchmarkStep
    from components.runs.compare import Step
    from components.runs.live import Recording
    from components.runs.live_steps import LiveSteps
    from components.runs.offer import Choices
    from components.runs.sources import Source


class Lab:
    """The use cases over one set of settings and one device, on which one measurement runs at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = devices.detect()
        self.pool = Pool(settings, self.device)
        self.ready = Ready(settings, self.pool)
        self.offer = Offer(settings, self.device.hardware, self.ready.downloads.available, self.ready.unavailable)
        self.queue = WorkQueue()
        self.service = Service(settings, self.pool, self.ready, self.queue)
        self.live_service = LiveService(settings, self.pool, self.ready, self.queue)
        self.benchmarks = WorkQueue("another benchmark")
        """Visitors' benchmarks: several at once would load and evict each other's pairs, clip by clip."""

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
        return self.service.compare(source, self._checked(choices), caller)

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
            TextError: the reference is too long, or there is no such normaliser.
            BusyError: too many wait already, for the device or for downloads.
            Cancelled: the caller left.
        """
        yield from self.service.compare_steps(source, self._checked(choices), caller)

    def live(self, source: AudioSource | None, *, caller: Caller = NOBODY, **choices: Any) -> Iterator[LivePass | Live]:
        """Run a clip through the lanes as if somebody were speaking it; yields each pass, and at last the result.

        Another measurement may come between two passes. ``choices`` and errors: those of ``compare_steps``.
        """
        yield from self.live_service.run(source, self._checked(choices), caller)

    def listen(self, recording: Recording, *, caller: Caller = NOBODY, **choices: Any) -> LiveSteps:
        """Lanes that listen to a recording that another thread makes; read their ``steps``.

        Raises:
            LaneError: on ZeroGPU, which lends its GPU to single calls; or as ``compare_steps``.
        """
        return self.live_service.listen(recording, self._checked(choices), caller)

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
        repeats: int = 1,
        batch_size: int = 1,
        caller: Caller = NOBODY,
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        language: str | None = None,
        normalizer: str = DEFAULT,
        live: bool = False,
        **options: Any,
    ) -> Iterator[BenchmarkStep]:
        """Run a data set clip by clip, and say how it goes.

        Another measurement may come between two clips or batches, never within one.

        Args:
            source: The clips; a path is that of a manifest. A clip that names its language is decoded in that one.
            output: The file of rows.
            repeats: Timed runs of each lane on each clip.
            batch_size: Clips that go through a lane at once.
            caller: Told what is being done; may leave at any time. The rows written so far are kept.
            pair: As in ``compare_steps``; so are ``lanes``, ``language`` and ``normalizer``.
            lanes: See ``pair``.
            language: See ``pair``.
            normalizer: See ``pair``.
            live: Run each clip as if somebody were speaking it, one at a time and once.
            options: ``resume``, ``retry_failed``, ``limit``, ``seed``, ``process``: see ``runs.benchmark.steps``.

        Raises:
            ManifestError: the data set cannot be read, or the output is there already or belongs to another run.
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered, or ``repeats`` or ``batch_size`` is out of range or does not go with live.
            Cancelled: the caller left.
        """
        from components.runs.benchmark import as_source, steps

        choices = {"pair": pair, "lanes": lanes, "language": language, "normalizer": normalizer, "repeats": repeats}
        checked = self._checked(choices | {"hear_language": False, "long_form": "sequential"})
        if live and (repeats, batch_size) != (1, 1):
            raise LaneError("A live benchmark runs each clip once and alone: leave out repeats and batch size.")
        service = self.live_service if live else self.service
        return steps(as_source(source), Path(output), service, checked, batch_size=batch_size, caller=caller, **options)

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

    def _checked(self, choices: dict[str, Any]) -> Choices:
        checked = self.offer.check(**choices)
        load_libraries()
        self.ready.check_fit(checked.pair)
        return checked

    def _model_info(self, lane: LaneSpec) -> ModelInfo:
        if (engine := self.pool.loaded(lane)) is not None:
            return engine.info.model_copy(update={"lane_id": lane.lane_id})
        return model_info(lane, catalog.architecture(lane.checkpoint) or load_config(lane, self.settings.token))
