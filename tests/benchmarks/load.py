"""Many visitors at once: everyone is answered or refused with a sentence, nobody hangs, and the figures stay right.

A started app on the pair `base`. First one client asks, clip by clip; then all of them ask at once, each again as soon
as it was answered, or a few seconds after it was refused. A generation time counts over the median of the same clip and
lane with one client alone. Memory is the server's resident set, every second.

Takes the seconds asked for and about half a minute more: 90 s as it stands, and `--seconds 300` for the goal's five
minutes.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError

from tests.benchmarks import common
from tests.browser.harness import running_app

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOAL = 0.25
MEMORY_GOAL = 0.05
"""What memory may grow by, from the first minute to the end."""
HANG_S = 180.0
"""A request that takes longer than this hangs; a full line is served in a fraction of it."""
SETTLED_S = 60.0


@dataclass
class Outcome:
    """What became of the requests. Ratios are of generation time over that of the same clip and lane alone."""

    answered: int = 0
    hung: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the start, and bytes."""

    def memory_growth(self, settled_s: float) -> float:
        """Median of the last samples over that of the first ones after ``settled_s``, less 1; of ten samples each."""
        settled = [size for second, size in self.memory if second >= settled_s]
        few = max(1, min(10, len(settled) // 2))
        return statistics.median(settled[-few:]) / statistics.median(settled[:few]) - 1


def ask(client: Client, clip: Path, outcome: Outcome) -> dict[str, float] | None:
    """Generation time of each lane, in seconds; nothing where the request was refused."""
    asked = monotonic()
    try:
        result: dict[str, Any] = client.submit(audio=handle_file(str(clip)), api_name="/compare").result(HANG_S)
    except TimeoutError:
        outcome.hung += 1
        return None
    except (AppError, QueueError) as error:
        outcome.refused[str(error)] += 1
        return None
    except Exception as error:  # noqa: BLE001 - anything else is what must not happen, and is counted as such
        outcome.wrong.append(repr(error))
        return None
    outcome.waits_s.append(monotonic() - asked)
    lanes = {run["lane_id"]: run["generation_time_s"] for run in result["runs"]}
    if result["clip_id"] != clip.stem or result["failures"] or set(lanes) != {"whisper", "distil"}:
        outcome.wrong.append(f"{clip.stem} was answered with {result['clip_id']}: {result['failures']}")
        return None
    outcome.answered += 1
    return lanes


def alone(url: str, clips: Sequence[Path], rounds: int) -> dict[tuple[str, str], float]:
    """Median generation time of each clip and lane with one client, in seconds."""
    client, outcome, seconds = Client(url, verbose=False), Outcome(), defaultdict(list)
    ask(client, clips[0], outcome)  # loads and warms up
    for _ in range(rounds):
        for clip in clips:
            for lane, generation_time_s in (ask(client, clip, outcome) or {}).items():
                seconds[clip.stem, lane].append(generation_time_s)
    client.close()
    if outcome.answered != 1 + rounds * len(clips):
        raise SystemExit(f"Not even one client alone is served: {outcome}")
    return {key: statistics.median(values) for key, values in seconds.items()}


def press(
    url: str,
    server: psutil.Process,
    clips: Sequence[Path],
    unloaded: dict[tuple[str, str], float],
    *,
    clients: int,
    seconds: float,
    pause_s: float,
) -> Outcome:
    """Ask with many clients at once for so many seconds."""
    outcome, over = Outcome(), threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        opened = list(pool.map(lambda _: Client(url, verbose=False), range(clients)))
    started = monotonic()

    def visit(client: Client, clip: Path) -> None:
        while not over.is_set():
            lanes = ask(client, clip, outcome)
            if lanes is None:
                over.wait(pause_s)
                continue
            outcome.ratios.extend(time_s / unloaded[clip.stem, lane] for lane, time_s in lanes.items())

    with ThreadPoolExecutor(clients) as pool:
        visits = [pool.submit(visit, client, clip) for client, clip in zip(opened, cycle(clips), strict=False)]
        while not over.wait(1):
            outcome.memory.append((monotonic() - started, server.memory_info().rss))
            if monotonic() - started >= seconds:
                over.set()
    for visited in visits:
        visited.result()
    for client in opened:
        client.close()
    return outcome


def server_process(url: str) -> psutil.Process:
    """The app that this process has started at an address."""
    port = urlsplit(url).port
    for child in psutil.Process().children():
        if any(connection.laddr.port == port for connection in child.net_connections("tcp")):
            return child
    raise LookupError(f"No process started here listens at {url}.")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds that a refused client waits")
    parser.add_argument("--rounds", type=int, default=4, help="of one client alone, over all clips")
    options = parser.parse_args()
    clips = [row.audio for row in common.read_manifest(options.manifest) if row.text][:5]
    with running_app(TEACHER_CHECKPOINT=options.teacher, STUDENT_CHECKPOINT=options.student) as url:
        unloaded = alone(url, clips, options.rounds)
        outcome = press(
            url,
            server_process(url),
            clips,
            unloaded,
            clients=options.clients,
            seconds=options.seconds,
            pause_s=options.pause,
        )
    ratio = statistics.median(outcome.ratios)
    growth = outcome.memory_growth(min(SETTLED_S, options.seconds / 2))
    result = {
        "goal": f"all answered or refused with a sentence, memory within {MEMORY_GOAL:.0%} after the first minute, "
        f"median generation time within {GOAL:.0%} of that without load",
        "clients": options.clients,
        "seconds": options.seconds,
        "answered": outcome.answered,
        "refused": dict(outcome.refused),
        "hung": outcome.hung,
        "wrong": outcome.wrong,
        "generation_time_ratio": ratio,
        "memory_growth": growth,
        "memory_bytes": {"first": outcome.memory[0][1], "last": outcome.memory[-1][1]},
        "answer": common.middle(outcome.waits_s),
        "longest_answer_s": max(outcome.waits_s),
    }
    fine = not outcome.hung and not outcome.wrong and growth <= MEMORY_GOAL and abs(ratio - 1) <= GOAL
    return common.finish("load", options, result, passed=fine)


if __name__ == "__main__":
    sys.exit(main())
