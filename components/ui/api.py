"""The endpoints that scripts rely on: typed JSON out. Their names and shapes stay.

Annotations are evaluated here (no ``from __future__ import annotations``): Gradio makes the schemas of them.
"""

import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr
from gradio.processing_utils import check_all_files_in_cache
from gradio_client.utils import is_file_obj_with_meta
from pydantic import BaseModel, ConfigDict, ValidationError

from components.core.caller import Caller
from components.core.errors import AudioError, ManifestError, WhisperSpaceError
from components.core.types import BenchmarkProgress, Comparison, Live, Models
from components.runs.queue import MAX_FETCHING, MAX_WAITING
from components.ui import benchmarking
from components.ui.requests import Cancellations, api_errors, unwanted
from components.ui.schema import answers
from components.ui.storage import runs_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from components.runs.lab import Lab
    from components.runs.sources import Source


class Options(BaseModel):
    """What an endpoint takes beside its files, each of exactly its type."""

    model_config = ConfigDict(strict=True)

    pair: str | None
    lanes: list[str] | None = None


class LiveOptions(Options):
    reference: str
    language: str | None


class CompareOptions(LiveOptions):
    repeats: int | None
    long_form: Literal["auto", "sequential", "chunked"]
    timestamps: bool


class BenchmarkOptions(Options):
    source: Literal["examples", "librispeech", "files"]
    files: list[Any] | None
    references: list[str | None] | None
    repeats: int
    limit: int | None


MEASURING: dict[str, Any] = {"concurrency_id": "measure", "concurrency_limit": 1 + MAX_WAITING + MAX_FETCHING}
"""For Gradio's queue, which lets this many in; ``runs.queue`` then has them wait for the device, one at a time, and for
downloads, which do not hold the device."""

BENCHMARKING: dict[str, Any] = {"concurrency_id": "benchmark", "concurrency_limit": 8}
"""One runs at a time; the others wait in ``Lab.benchmarks``."""


def register(lab: "Lab", cancellations: Cancellations) -> None:
    """Add the endpoints to the Blocks being built."""
    endpoints = Endpoints(lab, cancellations)
    _public(endpoints.benchmark, **BENCHMARKING)
    _public(endpoints.compare, **MEASURING)
    _public(endpoints.live, **MEASURING)
    _public(endpoints.models)


class Endpoints:
    """What scripts call. The order of the arguments is the contract's; Gradio fills in ``request``."""

    def __init__(self, lab: "Lab", cancellations: Cancellations) -> None:
        self.lab = lab
        self.cancellations = cancellations

    @answers(Comparison)
    def compare(  # noqa: D417, PLR0917
        self,
        audio: gr.FileData,
        reference: str = "",
        pair: str | None = None,
        lanes: list[str] | None = None,
        repeats: int | None = None,
        long_form: Literal["auto", "sequential", "chunked"] = "auto",
        timestamps: bool = True,
        language: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment] # Gradio fills it in by its annotation
    ) -> Any:
        """Transcribe one audio clip with Whisper and Distil-Whisper, and measure how much faster the second is.

        The lanes run one after another on a warm device. The result holds, for each lane, the text, the segments
        with their times, the seconds that features, encoder and decoder took, the tokens generated, word errors
        where a reference is given, and warnings where a figure is suspect; then the speed-up of each lane relative
        to the lane "whisper" on the same clip, and the machine that it was measured on.

        Args:
            audio: The clip, as an uploaded file: WAV, FLAC, OGG, Opus, MP3, M4A, WebM or a video with sound.
            reference: What is really said, to count word errors against. Empty for none.
            pair: Which teacher and student, of those that this Space offers; null for its default. See /models.
            lanes: Which contestants, for instance ["whisper", "distil"]; null for the pair's two models.
            repeats: How often each lane is timed, in turn; the median counts. Null: 3 to 5 times, slow lanes once.
            long_form: How audio over 30 seconds is cut: "sequential", "chunked", or "auto", as suits the pair.
            timestamps: Whether to write segments with their times. Audio over 30 seconds always has them.
            language: What is spoken, as a code like "en", or "auto" to have it detected; null for this Space's default.

        Returns:
            The comparison as JSON; times in seconds.
        """
        with self._caller(request) as caller:
            options = {"reference": reference, "pair": pair, "lanes": lanes, "repeats": repeats, "language": language}
            options = checked(CompareOptions, {**options, "long_form": long_form, "timestamps": timestamps})
            return self.lab.compare(uploaded_path(audio), **options, caller=caller).model_dump(mode="json")

    @answers(Live)
    def live(  # noqa: D417, PLR0917
        self,
        audio: gr.FileData,
        reference: str = "",
        pair: str | None = None,
        lanes: list[str] | None = None,
        language: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment] # Gradio fills it in by its annotation
    ) -> Any:
        """Transcribe one audio clip as if somebody were speaking it, each lane on its own clock.

        Every lane transcribes what it has received so far, again and again, and commits the words that two passes
        agree on. The result holds every pass with its lags in seconds, the words that each lane had committed at the
        end, and the same lanes over the whole clip at once.

        Args:
            audio: The clip, as an uploaded file; see /compare.
            reference: What is really said, to count word errors against. Empty for none.
            pair: Which teacher and student, of those that this Space offers; null for its default. See /models.
            lanes: Which contestants, for instance ["whisper", "distil"]; null for the pair's two models.
            language: What is spoken, as a code like "en", or "auto" to have it detected; null for this Space's default.

        Returns:
            The live run as JSON; times in seconds on each lane's own clock.
        """
        with self._caller(request) as caller:
            options = {"reference": reference, "pair": pair, "lanes": lanes, "language": language}
            *_, last = self.lab.live(uploaded_path(audio), **checked(LiveOptions, options), caller=caller)
            return last.model_dump(mode="json")

    @answers(Models)
    def models(self, pair: str | None = None) -> Any:
        """List the models of a pair: layers, parameters of encoder and decoder, and the student's share of them.

        The counts come from the configurations alone; no weights are loaded or downloaded.

        Args:
            pair: Which teacher and student, of those that this Space offers; null for its default.

        Returns:
            The pair, its lanes, and the ratios of the student's parameters to the teacher's, as fractions.
        """
        with api_errors():
            return self.lab.models(checked(Options, {"pair": pair})["pair"]).model_dump(mode="json")

    @answers(BenchmarkProgress)
    def benchmark(  # noqa: D417, PLR0917
        self,
        source: Literal["examples", "librispeech", "files"] = "examples",
        files: list[gr.FileData] | None = None,
        references: list[str | None] | None = None,
        pair: str | None = None,
        lanes: list[str] | None = None,
        repeats: int = 1,
        limit: int | None = None,
        request: gr.Request = None,  # type: ignore[assignment] # Gradio fills it in by its annotation
    ) -> Any:
        """Run a whole data set through Whisper and Distil-Whisper; streams a line after each clip, the report at last.

        Args:
            source: "examples" (shipped), "librispeech" (73 clips from the hub), or "files" (those that you upload).
            files: With "files": uploaded audio, each under a name of its own.
            references: With "files": what is said in each, in the same order; null where it is not known.
            pair: Which teacher and student, of those that this Space offers; null for its default. See /models.
            lanes: Which contestants, for instance ["whisper", "distil"]; null for the default.
            repeats: How often each lane is timed on each clip.
            limit: How many clips, of the first; null for as many as may run here.

        Returns:
            Clips done, the total, an estimate of the seconds left, and in the last line the report as JSON.
        """
        with self._caller(request) as caller, tempfile.TemporaryDirectory(dir=runs_parent()) as folder:
            options: dict[str, Any] = {"source": source, "references": references, "pair": pair, "lanes": lanes}
            options = checked(BenchmarkOptions, {**options, "files": files, "repeats": repeats, "limit": limit})
            data = _data_set(
                options.pop("source"), options.pop("files") or [], options.pop("references") or [], Path(folder)
            )
            options |= {"limit": benchmarking.allowed(options["limit"]), "caller": caller}
            watched = None
            for watched in benchmarking.watch(self.lab, data, Path(folder, "runs.jsonl"), **options):
                yield benchmarking.progress_json(watched, last=False).model_dump(mode="json")
            if watched is not None:
                yield benchmarking.progress_json(watched, last=True).model_dump(mode="json")

    @contextmanager
    def _caller(self, request: gr.Request | None) -> "Iterator[Caller]":
        """Who waits for a call; its errors are told in words. A call without a session gets one of its own."""
        session = (request.session_hash if request else None) or uuid.uuid4().hex
        with api_errors(), self.cancellations.request(session) as stop:
            yield Caller(cancelled=unwanted(stop))


def _data_set(source: str, files: list[Any], references: list[str | None], folder: Path) -> "Source":
    """The clips of ``/benchmark``, with what is said in those that were uploaded."""
    paths = [uploaded_path(file) for file in files]
    if len(references) > len(paths):
        raise ManifestError(f"There are {len(references)} references for {len(paths)} files. Give one for each.")
    spoken = {Path(path).name: text for path, text in zip(paths, references, strict=False) if text is not None}
    return benchmarking.chosen_source(source, paths, spoken, folder)


def _public(function: "Callable[..., Any]", **options: Any) -> None:
    """An endpoint under the function's name; the API view describes its arguments in the words of the docstring."""
    gr.api(function, api_name=function.__name__, **options)
    page = gr.context.Context.root_block
    if page is None:
        return
    *_, endpoint = page.fns.values()
    _, described, _ = gr.utils.get_function_description(function)
    names = [name for name, *_ in gr.utils.get_function_params(function)]
    component: Any
    for component, argument in zip(endpoint.inputs, names, strict=True):
        component.label = argument
        component._api_info["additional_description"] = described[argument]  # noqa: SLF001 - Gradio reads it there


def checked(kind: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """The values, each of the kind that its endpoint takes: ``gr.api`` hands over whatever JSON was sent.

    Raises:
        WhisperSpaceError: some are not; the message names them.
    """
    try:
        return kind(**values).model_dump()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise WhisperSpaceError(f"These values cannot be used: {faults}.") from error


def uploaded_path(audio: Any) -> str:
    """Path of a file that this visitor uploaded.

    ``gr.api`` skips the components' own checks, and Gradio looks only at objects that declare themselves files:
    whatever does not, or lies outside the upload folder, is refused here.
    """
    if isinstance(audio, gr.FileData):
        audio = audio.model_dump()
    if not isinstance(audio, dict) or not is_file_obj_with_meta(audio):
        raise AudioError(
            "No audio was sent. Upload a file first (POST it to /gradio_api/upload, or use handle_file of "
            'gradio_client) and pass {"path": its path, "meta": {"_type": "gradio.FileData"}}.'
        )
    path = audio["path"]
    if "://" in path:
        raise AudioError("The audio is a link. Upload the file itself.")
    check_all_files_in_cache(audio)  # type: ignore[arg-type] # a dict is JSON
    return path
