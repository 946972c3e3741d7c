"""How soon the page is there: what importing it costs over Gradio alone, and when a started app has answered somebody.

Imports alternate, each in a fresh process. The app is started with the pair `base` and asked for a comparison as soon
as its page answers; the clock runs from the command to the result. About a minute on two quiet cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import perf_counter

from gradio_client import Client, handle_file

from tests.benchmarks import common
from tests.browser.harness import running_app

IMPORT_GOAL = 2.0
START_GOAL_S = 25.0


def import_s(module: str) -> float:
    """Seconds that importing a module takes in a fresh process, the interpreter's own start aside."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def start_s(clip: str) -> tuple[float, float]:
    """Seconds from the command to the page, and to the first comparison."""
    started = perf_counter()
    with running_app(PAIR="base") as url:
        page_s = perf_counter() - started
        result = Client(url, verbose=False).predict(audio=handle_file(clip), api_name="/compare")
        answered_s = perf_counter() - started
    if result["failures"] or [run["lane_id"] for run in result["runs"]] != ["whisper", "distil"]:
        raise SystemExit(f"The first comparison failed: {result['failures']}")
    return page_s, answered_s


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--imports", type=int, default=5, help="processes for each of the two imports")
    parser.add_argument("--starts", type=int, default=2)
    options = parser.parse_args()
    clip = next(str(row.audio) for row in common.read_manifest(options.manifest) if row.text)

    import_s("components.ui.layout")  # reads every file once, for both
    gradio, page = [], []
    for _ in range(options.imports):
        gradio.append(import_s("gradio"))
        page.append(import_s("components.ui.layout"))
    ratio = statistics.median(page) / statistics.median(gradio)
    starts = [start_s(clip) for _ in range(options.starts)]

    slowest_s = max(answered_s for _, answered_s in starts)
    result = {
        "goal": f"importing the page: {IMPORT_GOAL:g} times Gradio at most; a comparison within {START_GOAL_S:g} s",
        "import_ratio": ratio,
        "import_gradio": common.middle(gradio),
        "import_page": common.middle(page),
        "page_answers_s": [page_s for page_s, _ in starts],
        "first_comparison_s": [answered_s for _, answered_s in starts],
    }
    return common.finish("start", options, result, passed=ratio <= IMPORT_GOAL and slowest_s <= START_GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
