"""Results in a terminal and as Markdown."""

from __future__ import annotations

from components.core.types import LaneFailure
from components.report import columns, text
from components.report.files import read_speed
from tests.report.nouns import MACHINE, make_comparison, make_run, make_speed

MARKUP = "<img src=x> [a](javascript:1) | **b** `c`\nnext # d"


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_one_list_of_columns_serves_terminal_and_markdown(compared):
    table = columns.comparison_table(compared)
    headings = [cell.text for cell in table.head]
    lines = text.markdown_table(table).splitlines()
    assert cells(lines[0]) == headings
    assert len(lines) == 4
    assert cells(lines[3])[1:5] == ["0.30 s", "0.10 s", "0.20 s", "0.32 s"]
    terminal = text.terminal_table(table).splitlines()
    assert all(heading in terminal[0] for heading in headings)
    assert terminal[2].startswith("distil ")
    assert "3.0x" in terminal[2]


def test_a_comparison_for_the_terminal(compared):
    failure = LaneFailure(clip_id="clip.wav", lane_id="speculative", message="Memory ran out.")
    said = text.comparison(compared.model_copy(update={"failures": (failure,), "notes": ("It starts late.",)}))
    for part in ("clip.wav, 5.0 s", "3.0x faster", "whisper: one two three four", "speculative failed: Memory", "late"):
        assert part in said
    assert said.isascii()


def test_no_speed_up_is_printed_where_it_would_mislead(compared):
    busy = make_comparison(make_run("whisper", (0.1, 0.9)), make_run("distil", (0.3, 0.4), busy=True))
    for said in (text.comparison(busy), text.comparison_markdown(busy)):
        assert "busy" in said
        assert "Speed-up" not in said
    assert "Speed-up" in text.comparison(compared)


def test_a_benchmark_for_the_terminal(report):
    summary = report.summary.model_copy(update={"warnings": ("One clip is silent.",)})
    said = text.benchmark(report.model_copy(update={"summary": summary}))
    assert "3.0x faster" in said
    assert "warning: One clip is silent." in said


def test_models_for_the_terminal(models):
    said = text.models(models)
    assert "49.000047%" in said
    assert "1,543,304,960" in said
    assert text.models(models.model_copy(update={"lanes": ()})) == "pair large-v2"


def test_speed_for_the_terminal():
    said = text.speed([make_speed()])
    assert "memory bandwidth 2,800 GB/s" in said
    assert "4.5x" in said


def test_a_result_to_paste_names_clip_models_machine_and_address(compared):
    said = text.comparison_markdown(compared, "https://example.org/?pair=base")
    for part in (
        "clip.wav",
        "Whisper base vs distil-base",
        "3.0× faster",
        "AMD EPYC",
        "<https://example.org/?pair=base>",
    ):
        assert part in said


def test_markdown_shows_text_as_it_is():
    run = make_run("whisper", (0.1, 0.2), text=MARKUP, checkpoint=MARKUP, dtype=MARKUP)
    said = text.comparison_markdown(make_comparison(run, clip_id=MARKUP))
    assert "<img" not in said.replace("\\<", "")
    assert "](" not in said.replace("\\]", "")
    assert len(cells(said.splitlines()[4])) == len(cells(said.splitlines()[5]))


def test_a_shared_run_can_be_opened_again(tmp_path):
    run = make_speed(pair="```[x](y)", machine=MACHINE.model_copy(update={"device_name": MARKUP}))
    said = text.speed_share(run)
    assert "<img" not in said.split("```json")[0].replace("\\<", "")
    block = said.split("```json")[1].split("```")[0]
    assert read_speed(block.strip()) == run
    assert text.file_name(make_speed()) == "speed_large-v2_compiled_amd-epyc-2-threads.json"


def test_where_it_runs():
    stamp = {"device_name": "AMD EPYC", "dtype": "float32", "runtime": "loop", "note": ""}
    assert columns.where_it_runs(stamp) == "Runs on AMD EPYC in float32, with our decoding loop."
    assert columns.where_it_runs({"device_name": "CPU", "note": "Why not."}) == "Runs on CPU. Why not."
