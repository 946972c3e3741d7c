"""Both models of a pair together take at most 0.75 of the parameter memory of loading them apart."""

from __future__ import annotations

import sys

from components.engines.pool import Pool
from tests.benchmarks import common

GOAL = 0.75


def main() -> int:
    options = common.parser(__doc__).parse_args()
    lanes, settings = common.lanes(options), common.settings(options)
    pool = Pool(settings)
    together = _bytes([pool.get(lane).model for lane in lanes])
    apart = sum(_bytes([Pool(settings).get(lane).model]) for lane in lanes)
    result = {
        "goal": f"at most {GOAL}",
        "ratio": together / apart,
        "bytes": {"together": together, "apart": apart},
    }
    return common.finish("shared_memory", options, result, passed=together / apart <= GOAL)


def _bytes(models: list) -> int:
    """Of the distinct storages behind all parameters."""
    storages = [parameter.untyped_storage() for model in models for parameter in model.parameters()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


if __name__ == "__main__":
    sys.exit(main())
