"""From what was asked for to its result: files fetched, the device waited for, the clip read, the lanes run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.audio import load_audio
from components.core.caller import Caller
from components.core.errors import AudioError, TextError
from components.core.speech import find_speech
from components.core.types import WINDOW_S, LaneFailure
from components.engines import device as devices
from components.runs.compare import LEAST_ROUNDS, Session, Step, compare
from components.runs.queue import MAX_FETCHING, MAX_WAITING, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from components.core.audio import Source as AudioSource
    from components.core.settings import Settings
    from components.core.types import AudioClip, Comparison, LaneSpec, Row
    from components.engines.pool import Pool
    from components.runs.batch import Batches
    from components.runs.compare import State
    from components.runs.offer import Choices
    from components.runs.queue import WorkQueue
    from components.runs.ready import Ready
    from components.runs.sources import Item

    Fetched = tuple[list[LaneSpec], dict[LaneSpec, str]]
    Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """One clip of a data set and the lanes that it has yet to go through.

    ``baseline_tokens``: those of the ``whisper`` lane, where it is done already.
    """

    item: Item
    lanes: tuple[LaneSpec, ...]
    baseline_tokens: int | None = None


class Service:
    """Runs what was asked for, one thing at a time. In this order: fetch, wait for the device, read the clip, run.

    Others may use the device while files arrive; to decode a clip while another is timed would slow it.
    """

    row_settings: Mapping[str, Any] = {}
    """What its rows have in common beside the settings and choices."""

    def __init__(self, settings: Settings, pool: Pool, ready: Ready, queue: WorkQueue) -> None:
        self.settings = settings
        self.pool = pool
        self.ready = ready
        self.queue = queue
        self.compare_on_gpu = devices.gpu(gpu_duration_s)(self._compare)

    def compare(self, source: AudioSource | None, choices: Choices, caller: Caller) -> Comparison:
        """One clip; the result alone."""
        fetched = self.ready.fetch(choices.lanes, caller, limit=MAX_FETCHING)
        result = None
        for step in self._steps(source, choices, caller, fetched, watched=False):
            result = step.comparison
        if result is None:
            raise RuntimeError("a comparison ended without a result")
        return result

    def compare_steps(self, source: AudioSource | None, choices: Choices, caller: Caller) -> Iterator[Step]:
        """One clip, step by step. Where nobody reads on, the work stops soon."""
        left = threading.Event()
        caller = caller.until(left)
        try:
            fetched = yield from _told(
                lambda relay: self.ready.fetch(choices.lanes, relay, limit=MAX_FETCHING),
                caller,
                _waiting(choices.lanes),
            )
            yield from self._steps(source, choices, caller, fetched, watched=True)
        finally:
            left.set()

    def _steps(
        self, source: AudioSource | None, choices: Choices, caller: Caller, fetched: Fetched, *, watched: bool
    ) -> Iterator[Step]:
        ready, refused = fetched
        how = choices.arguments | {"failures": _messages(refused)}

        def work() -> Iterator[Step]:
            clip = self._read(source, choices.clip_id, caller)
            if self._needs_gpu(clip, ready):
                yield Step("Waiting for a GPU", states=_waiting(ready))
                yield Step("Done", 1.0, comparison=self.compare_on_gpu(clip=clip, lanes=ready, **how))
            elif watched:
                yield from Session(clip, ready, self.pool, caller, **how).steps()
            else:
                yield Step("Done", 1.0, comparison=compare(clip, ready, self.pool, caller, **how))

        for step in self.queue.stream(work, caller, limit=MAX_WAITING):
            if isinstance(step, Waiting):
                yield Step(f"Waiting for the device: {step.before} before you", states=_waiting(ready))
            else:
                yield step

    def rows(
        self, tasks: Sequence[Task], choices: Choices, batches: Batches, caller: Caller
    ) -> Iterator[tuple[Task, tuple[Row, ...]]]:
        """Clips of a data set, in batches of like length; each task with its rows as they are done.

        A clip that cannot be read fails in each of its lanes.
        """
        quiet = Caller(cancelled=caller.cancelled)
        lanes = dict.fromkeys(lane for task in tasks for lane in task.lanes)
        ready, refused = self.ready.fetch(lanes, quiet)

        def work() -> Iterator[tuple[Task, tuple[Row, ...]]]:
            sessions: list[tuple[Task, Session]] = []
            for task in tasks:
                try:
                    sessions.append((task, self._session(task, ready, refused, choices, quiet)))
                except (AudioError, TextError) as error:
                    yield task, failures_of(task.item.clip_id, dict.fromkeys(task.lanes, error.message))
            sessions.sort(key=lambda pair: -pair[1].clip.audio_length_s)  # the longest first: memory runs out at once
            while sessions:
                part, sessions = sessions[: batches.size], sessions[batches.size :]
                found = self._run([session for _, session in part], choices, batches)
                for (task, _), comparison in zip(part, found, strict=True):
                    yield task, (*comparison.runs, *comparison.failures)

        for done in self.queue.stream(work, quiet):
            if not isinstance(done, Waiting):
                yield done

    def _session(
        self, task: Task, ready: Sequence[LaneSpec], refused: Mapping[LaneSpec, str], choices: Choices, caller: Caller
    ) -> Session:
        item = task.item
        if item.fault is not None:
            raise AudioError(item.fault)
        options = choices.options if item.language is None else replace(choices.options, language=item.language)
        return Session(
            self._read(item.audio, item.clip_id, caller),
            [lane for lane in task.lanes if lane in ready],
            self.pool,
            caller,
            **choices.arguments | {"options": options, "reference": item.text},
            baseline_tokens=task.baseline_tokens,
            partial=False,
            failures=_messages({lane: refused[lane] for lane in task.lanes if lane in refused}),
        )

    def _run(self, sessions: Sequence[Session], choices: Choices, batches: Batches) -> list[Comparison]:
        if not self.ready.before_launch:
            return batches.run(sessions)
        return [self._run_on_gpu(session, choices) for session in sessions]

    def _run_on_gpu(self, session: Session, choices: Choices) -> Comparison:
        run = self.compare_on_gpu if self._needs_gpu(session.clip, session.lanes) else self._compare
        arguments = choices.arguments | {"options": session.options, "reference": session.reference}
        arguments |= {"failures": session.failures}
        return run(clip=session.clip, lanes=session.lanes, baseline_tokens=session.baseline_tokens, **arguments)

    def _needs_gpu(self, clip: AudioClip, lanes: Sequence[LaneSpec]) -> bool:
        """On ZeroGPU: silence, and lanes of which none is here, are answered without a GPU."""
        return self.ready.before_launch and bool(lanes) and find_speech(clip).worth_asking

    def _compare(self, *, clip: AudioClip, lanes: Sequence[LaneSpec], **arguments: Any) -> Comparison:
        """What runs on ZeroGPU, in a process of its own, which no caller can reach."""
        return compare(clip, lanes, self.pool, **arguments)

    def _read(self, source: AudioSource | None, clip_id: str | None, caller: Caller) -> AudioClip:
        return load_audio(source, clip_id=clip_id, max_audio_s=self.settings.max_audio_s, caller=caller)


def gpu_duration_s(*, clip: AudioClip, lanes: Sequence[LaneSpec], repeats: int | None, **_: Any) -> int:
    """Seconds of GPU to ask for on ZeroGPU: a start, then a tenth of what each run of a lane hears.

    One run is to warm up, on a window at most.
    """
    warm_up_s = 1 + min(clip.audio_length_s, WINDOW_S) / 10
    rounds = LEAST_ROUNDS if repeats is None else repeats
    return round(20 + len(lanes) * (warm_up_s + rounds * (1 + clip.audio_length_s / 10)))


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


def failures_of(clip_id: str, refused: Mapping[LaneSpec, str]) -> tuple[LaneFailure, ...]:
    """A failure for each lane that never reached the device."""
    return tuple(
        LaneFailure(clip_id=clip_id, lane_id=lane.lane_id, message=message) for lane, message in refused.items()
    )


def _messages(refused: Mapping[LaneSpec, str]) -> dict[str, str]:
    return {lane.lane_id: message for lane, message in refused.items()}
