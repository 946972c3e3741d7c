"""Live runs from what was asked for to their result; as ``service``, for a stream of audio."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, cast

from components.core.audio import load_audio
from components.core.caller import NOBODY, Caller
from components.core.errors import AudioError, LaneError, TextError
from components.engines import device as devices
from components.runs.live import Recording
from components.runs.live_steps import LiveSteps, paces_of_this_machine
from components.runs.queue import MAX_FETCHING, MAX_WAITING
from components.runs.service import failures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.audio import Source as AudioSource
    from components.core.settings import Settings
    from components.core.types import AudioClip, Live, LivePass, Row
    from components.engines.pool import Pool
    from components.runs.batch import Batches
    from components.runs.offer import Choices
    from components.runs.queue import WorkQueue
    from components.runs.ready import Ready
    from components.runs.service import Task


class LiveService:
    """Holds the device for one pass at a time: another measurement may come between two."""

    row_settings: Mapping[str, Any] = {"live": True}
    """What distinguishes its rows from those of ``Service``."""

    def __init__(self, settings: Settings, pool: Pool, ready: Ready, queue: WorkQueue) -> None:
        self.settings = settings
        self.pool = pool
        self.ready = ready
        self.queue = queue
        self.paces = paces_of_this_machine()
        self._run_on_gpu = devices.gpu(_gpu_duration_s)(self._whole)

    def run(self, source: AudioSource | None, choices: Choices, caller: Caller) -> Iterator[LivePass | Live]:
        """A clip as if somebody were speaking it: each pass, and at last the result."""
        clip = load_audio(source, clip_id=choices.clip_id, max_audio_s=self.settings.max_audio_s, caller=caller)
        if self.ready.before_launch:
            yield from self._run_on_gpu(clip=clip, choices=choices)
            return
        yield from self._steps(Recording(clip.samples), clip.clip_id, choices, caller, self._on_device(caller)).steps()

    def listen(self, recording: Recording, choices: Choices, caller: Caller) -> LiveSteps:
        """Lanes that listen to a recording that another thread makes.

        Raises:
            LaneError: on ZeroGPU.
        """
        if self.ready.before_launch:
            raise LaneError("On ZeroGPU live is for recordings only: it lends the GPU for one call at a time.")
        return self._steps(recording, choices.clip_id or "recording", choices, caller, self._on_device(caller))

    def rows(
        self, tasks: Sequence[Task], choices: Choices, _batches: Batches, caller: Caller
    ) -> Iterator[tuple[Task, tuple[Row, ...]]]:
        """Clips of a data set, one after another; each task with its rows, a live run a lane."""
        quiet = Caller(cancelled=caller.cancelled)
        for task in tasks:
            try:
                yield task, self._rows(task, choices, quiet)
            except (AudioError, TextError) as error:
                yield task, failures_of(task.item.clip_id, dict.fromkeys(task.lanes, error.message))

    def _rows(self, task: Task, choices: Choices, caller: Caller) -> tuple[Row, ...]:
        item = task.item
        if item.fault is not None:
            raise AudioError(item.fault)
        language = choices.options.language if item.language is None else item.language
        own = replace(
            choices,
            lanes=task.lanes,
            reference=item.text,
            clip_id=item.clip_id,
            options=replace(choices.options, language=language),
        )
        *_, last = self.run(item.audio, own, caller)
        result = cast("Live", last).live
        return (*result.runs, *result.failures)

    def _steps(
        self,
        recording: Recording,
        clip_id: str,
        choices: Choices,
        caller: Caller,
        on_device: Callable[[Callable[[], Any]], Any],
    ) -> LiveSteps:
        ready, refused = self.ready.fetch(choices.lanes, caller, limit=MAX_FETCHING)
        steps = LiveSteps(
            ready,
            self.pool,
            self.paces,
            caller,
            options=choices.options,
            pair_id=choices.pair,
            reference=choices.reference,
            normalizer=choices.normalizer,
            clip_id=clip_id,
            recording=recording,
            on_device=on_device,
        )
        steps.failures += failures_of(clip_id, refused)
        return steps

    def _on_device(self, caller: Caller) -> Callable[[Callable[[], Any]], Any]:
        """Calls functions one by one in the queue; only the first may be refused: what has begun goes on."""
        limits = chain([MAX_WAITING], repeat(None))
        return lambda function: self.queue.run(function, caller, limit=next(limits))

    def _whole(self, *, clip: AudioClip, choices: Choices) -> list[LivePass | Live]:
        """What runs on ZeroGPU, in a process of its own, which no caller can reach."""
        steps = self._steps(Recording(clip.samples), clip.clip_id, choices, NOBODY, lambda function: function())
        return list(steps.steps())


def _gpu_duration_s(*, clip: AudioClip, choices: Choices) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a pass takes half a second at most, and there are two a second of audio."""
    return round(40 + len(choices.lanes) * clip.audio_length_s)
