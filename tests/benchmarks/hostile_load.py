"""Two ordinary visitors beside ten strangers who try everything at once: times, memory, disk, log, and what stays.

A started app. First the two ordinary ones alone, each asking for a comparison again and again, with a pause; then the
same beside the strangers, who draw from `tests/ui/strangers.py` and pause, too, since they share this machine's
processor with the server. Their time is that from before the upload to the answer. Six minutes as it stands.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from tests.benchmarks import common
from tests.benchmarks.load import server_process
from tests.browser.harness import pair_variables, running_app
from tests.ui.strangers import ATTACKS, Visitor, large_report, pictures, reports, wide

if TYPE_CHECKING:
    import argparse

    import psutil

GOAL = 0.25
GROWTH_GOAL_BYTES = 50_000_000
LATEST_S = 20.0
"""Seconds within which whoever still asks at the end must have been answered."""

SETTLED_S = 60.0
"""Seconds after which memory and disk should stay."""


@dataclass
class Watch:
    """What was seen; times in seconds, sizes in bytes, each with the second at which it was."""

    over: threading.Event = field(default_factory=threading.Event)
    times_s: list[float] = field(default_factory=list)
    measured_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[float, int, int]] = field(default_factory=list)
    hung: int = 0

    def growth(self, column: int) -> int:
        """Median of the last ten samples less that of the first ten after ``SETTLED_S``, or after a fifth of all."""
        start = min(SETTLED_S, self.sizes[-1][0] / 5)
        settled = [sample[column] for sample in self.sizes if sample[0] >= start]
        return round(statistics.median(settled[-10:]) - statistics.median(settled[:10]))


def be_ordinary(url: str, address: str, data: bytes, watch: Watch, pause_s: float) -> None:
    with Visitor(url, address) as client:
        while not watch.over.wait(pause_s):
            began = monotonic()
            try:
                result = client.call("compare", {"audio": client.upload("ordinary.ogg", data)})
                if isinstance(result, str):
                    watch.refused[result] += 1
                    continue
                watch.measured_s.append(sum(run["generation_time_s"] for run in result["runs"]))
                watch.times_s.append(monotonic() - began)
            except Exception as error:  # noqa: BLE001 - the very thing looked for
                watch.wrong[f"ordinary: {error!r}"[:300]] += 1


def be_hostile(url: str, address: str, watch: Watch, pause_s: float) -> None:
    rng = random.Random(address)
    while not watch.over.wait(pause_s):
        name = rng.choice(list(ATTACKS))
        watch.tried[name] += 1
        try:
            with Visitor(url, address, hurried=True) as stranger:
                ATTACKS[name](stranger)
        except Exception as error:  # noqa: BLE001 - the very thing looked for
            watch.wrong[f"{name}: {error!r}"[:300]] += 1


def folder_bytes(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        try:
            size += file.stat().st_size
        except OSError:
            continue  # gone meanwhile
    return size


def run(
    url: str,
    server: psutil.Process,
    folder: Path,
    data: bytes,
    *,
    seconds: float,
    strangers: int = 0,
    pause_s: float = 0.0,
) -> Watch:
    """So many seconds of two ordinary visitors and some strangers."""
    watch = Watch()
    visits = [(be_ordinary, url, f"203.0.113.{number}", data, watch, 2.0) for number in range(2)]
    visits += [(be_hostile, url, f"198.18.0.{number}", watch, pause_s) for number in range(strangers)]
    threads = [threading.Thread(target=visit, args=arguments, daemon=True) for visit, *arguments in visits]
    for thread in threads:
        thread.start()
    began = monotonic()
    while monotonic() - began < seconds:
        sleep(1)
        watch.sizes.append((monotonic() - began, server.memory_info().rss, folder_bytes(folder)))
    watch.over.set()
    deadline = monotonic() + LATEST_S
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
    watch.hung = sum(thread.is_alive() for thread in threads)
    return watch


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--alone", type=float, default=45.0, help="seconds of the two ordinary visitors alone")
    parser.add_argument("--strangers", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds that a stranger waits between two tries")
    options = parser.parse_args()
    data = next(row.audio for row in common.read_manifest(options.manifest) if row.text).read_bytes()
    for made in (pictures, wide, reports, large_report):  # made once, and not while anything is timed
        made()
    log: list[str] = []
    pair = pair_variables(options.teacher, options.student)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        with running_app(log=log, GRADIO_TEMP_DIR=parent, GRADIO_MCP_SERVER="True", **pair) as url:
            server = server_process(url)
            run(url, server, folder, data, seconds=15)  # loads and warms up
            alone = run(url, server, folder, data, seconds=options.alone)
            beside = run(
                url,
                server,
                folder,
                data,
                seconds=options.seconds,
                strangers=options.strangers,
                pause_s=options.pause,
            )
            sleep(10)
            after = run(url, server, folder, data, seconds=10)
        left = [str(place.relative_to(folder)) for place in folder.rglob("*")]
    return finish(options, (alone, beside, after), log, left)


def finish(options: argparse.Namespace, watched: tuple[Watch, Watch, Watch], log: list[str], left: list[str]) -> int:
    alone, beside, after = watched
    ratio = statistics.median(beside.times_s or [float("inf")]) / statistics.median(alone.times_s)
    growth = {"memory_bytes": beside.growth(1), "disk_bytes": beside.growth(2)}
    tracebacks = sum("Traceback" in line for line in log)
    result = {
        "goal": f"ordinary time within {GOAL:.0%} of alone, memory and disk flat to {GROWTH_GOAL_BYTES // 10**6} MB, "
        "no traceback in the log, nothing left",
        "seconds": options.seconds,
        "strangers": options.strangers,
        "tried": dict(beside.tried),
        "ordinary_time_ratio": ratio,
        "alone": common.middle(alone.times_s),
        "beside": common.middle(beside.times_s) if len(beside.times_s) > 1 else None,
        "longest_s": max(beside.times_s, default=None),
        "generation_time_ratio": statistics.median(beside.measured_s or [0]) / statistics.median(alone.measured_s),
        "answered": {"alone": len(alone.times_s), "beside": len(beside.times_s), "after": len(after.times_s)},
        "refused": dict(beside.refused),
        "wrong": dict(beside.wrong),
        "hung": beside.hung,
        "growth": growth,
        "memory_bytes": {"first": beside.sizes[0][1], "last": beside.sizes[-1][1], "after": after.sizes[-1][1]},
        "disk_bytes": {"first": beside.sizes[0][2], "last": beside.sizes[-1][2], "after": after.sizes[-1][2]},
        "log_lines": len(log),
        "tracebacks": tracebacks,
        "left": left,
    }
    flat = all(value <= GROWTH_GOAL_BYTES for value in growth.values())
    fine = ratio <= 1 + GOAL and flat and not tracebacks and not left and not beside.wrong and not beside.hung
    return common.finish("hostile_load", options, result, passed=fine)


if __name__ == "__main__":
    sys.exit(main())
