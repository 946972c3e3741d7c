"""Both models of a pair together take at most 0.75 of the parameter memory of loading them apart.

The shipped pair, and pairs of the catalogue's shapes: checkpoints with random weights are saved to a temporary folder,
the student's encoder its teacher's, and loaded through the pool, each time in a process of its own; then the storages
behind all parameters are added up. The pairs that are too large for this are counted. About 100 s on two cores, 5 GB of
disk and of memory.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from components.core import catalog
from components.core.settings import Settings
from components.core.types import LaneSpec
from components.engines.counting import model_info
from components.engines.hub import located
from components.engines.pool import Pool
from tests.benchmarks import common

GOAL = 0.75
WEIGHTS = ("config.json", "model")
"""How the names of files begin that a checkpoint of another size does not share with the shipped one."""


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--pairs", default="small.en,medium.en,large-v2", help="of the catalogue, really loaded")
    options = parser.parse_args()
    measured = {"base": _measured([options.teacher, options.student], "auto")}
    for pair_id in filter(None, options.pairs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            measured[pair_id] = _measured(_saved(pair_id, Path(folder)), "float16")
        print(f"{pair_id}: {measured[pair_id]['ratio']:.3f}", file=sys.stderr)
    result = {
        "goal": f"at most {GOAL}",
        "ratio": {pair_id: each["ratio"] for pair_id, each in measured.items()},
        "met": {pair_id: each["ratio"] <= GOAL for pair_id, each in measured.items()},
        "counted": {pair_id: _counted(pair_id) for pair_id in catalog.PAIRS},
        "measured": measured,
    }
    return common.finish("shared_memory", options, result, passed=all(result["met"].values()))


def _saved(pair_id: str, folder: Path) -> list[str]:
    """Folders of a teacher and a student of the pair's shapes, in float16; all but the encoder differs."""
    pair, encoder, saved = catalog.get_pair(pair_id), None, []
    base = Path(located("openai/whisper-base", None))
    for checkpoint in (pair.teacher, pair.student):
        place = folder / Path(checkpoint).name
        shutil.copytree(base, place, ignore=lambda _, names: [n for n in names if n.startswith(WEIGHTS)])
        config = WhisperConfig(**catalog.architecture(checkpoint), bos_token_id=0, eos_token_id=0, pad_token_id=0)
        with torch.device("meta"):
            model = WhisperForConditionalGeneration(config)
        model = model.to(torch.float16).to_empty(device="cpu")
        model.tie_weights()
        if encoder is not None:
            model.model.encoder = encoder
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if encoder is None or not name.startswith("model.encoder."):
                    parameter.view(torch.int16).random_(0, 1 << 14)  # finite, and quickly made
        encoder = model.model.encoder
        model.save_pretrained(place)
        shutil.copy(base / "generation_config.json", place)
        saved.append(str(place))
    return saved


def _measured(checkpoints: list[str], dtype: str) -> dict:
    """Bytes of parameters of both models together and of each alone, each time in a fresh process."""
    found = []
    for loaded in (checkpoints, checkpoints[:1], checkpoints[1:]):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            found.append(process.submit(loaded_bytes, loaded, dtype).result())
    together, *apart = found
    return {"ratio": together / sum(apart), "dtype": dtype, "bytes": {"together": together, "apart": apart}}


def loaded_bytes(checkpoints: list[str], dtype: str) -> int:
    """Of the distinct storages behind all parameters, once a pool has loaded the checkpoints."""
    pool = Pool(Settings(dtype=dtype))
    models = [pool.get(LaneSpec("whisper", "", "whisper", str(Path(each).resolve()))).model for each in checkpoints]
    storages = [parameter.untyped_storage() for model in models for parameter in model.parameters()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _counted(pair_id: str) -> float:
    """The ratio from the shapes alone, with one encoder for both."""
    pair = catalog.get_pair(pair_id)
    teacher, student = (
        model_info(LaneSpec("whisper", "", "whisper", each), catalog.architecture(each))
        for each in (pair.teacher, pair.student)
    )
    return (teacher.num_parameters + student.decoder_parameters) / (teacher.num_parameters + student.num_parameters)


if __name__ == "__main__":
    sys.exit(main())
