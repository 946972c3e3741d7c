"""Five requests at once: the median generation time must stay within 25 % of that of requests one by one.

A started app on the shipped pair, called through ``gradio_client``; rounds of five at once and five in turn alternate.
"""

from __future__ import annotations

import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

from gradio_client import Client, handle_file

from tests.benchmarks import common
from tests.browser.harness import running_app

VISITORS = 5
GOAL = 0.25


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    rows = [row for row in common.read_manifest(options.manifest) if row.text][:VISITORS]
    seconds: dict[str, list[float]] = {"in_turn": [], "at_once": []}

    with running_app(TEACHER_CHECKPOINT=options.teacher, STUDENT_CHECKPOINT=options.student) as url:
        clients = [Client(url, verbose=False) for _ in rows]

        def compare(visitor: int) -> float:
            row = rows[visitor]
            result = clients[visitor].predict(audio=handle_file(str(row.audio)), repeats=1, api_name="/compare")
            if result["clip_id"] != row.audio.stem:
                raise SystemExit(f"{row.clip_id} was given the result of {result['clip_id']}.")
            return result["runs"][0]["generation_time_s"]

        compare(0)  # loads and warms up
        for _ in range(options.rounds):
            seconds["in_turn"] += [compare(visitor) for visitor in range(VISITORS)]
            with ThreadPoolExecutor(VISITORS) as pool:
                seconds["at_once"] += pool.map(compare, range(VISITORS))

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["at_once"] / medians["in_turn"]
    result = {
        "goal": f"within {GOAL:.0%} of 1",
        "ratio": ratio,
        "rounds": options.rounds,
        **{name: common.middle(values) for name, values in seconds.items()},
    }
    return common.finish("five_at_once", options, result, passed=abs(ratio - 1) <= GOAL)


if __name__ == "__main__":
    sys.exit(main())
