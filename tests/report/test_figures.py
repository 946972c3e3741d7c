from __future__ import annotations

import pytest

from components.report import figures
from components.report.theme import COLOURS, ON_COLOUR, lane_colour
from tests.report.nouns import HOSTILE, MACHINE, make_clip, make_report, make_speed


def traces(figure):
    """Bars and points that carry figures, the legend's entries left out."""
    return [trace for trace in figure.data if None not in (*(trace.x or [None])[:1], *(trace.y or [None])[:1])]


def benchmark(clips=20, **changes):
    """Clips of 10, 20, ... tokens: Whisper takes 20 ms a token, its student 10, both 0.1 s to begin with."""
    rows = [
        make_clip(f"clip {number}", lane, 0.1, ms * number / 100, generated_tokens=10 * number)
        for number in range(1, clips + 1)
        for lane, ms in (("whisper", 20), ("distil", 10))
    ]
    return make_report(rows, whisper={"ms_per_token": 20.0}, distil={"ms_per_token": 10.0}, **changes)


def test_latency_stacks_decoder_on_encoder_in_one_group_a_sample(report):
    figure = figures.latency(report)
    assert figure.layout.barmode == "stack"
    whisper_encoder, whisper_decoder, distil_encoder, distil_decoder = traces(figure)
    assert list(whisper_decoder.x) == ["1", "2", "3"]
    assert list(whisper_encoder.y) == [0.1, 0.1, 0.1]
    assert list(whisper_decoder.y) == [0.7, 0.3, 0.5]
    assert list(distil_decoder.y) == [0.1, 0.1, None]
    assert whisper_encoder.offsetgroup == whisper_decoder.offsetgroup != distil_encoder.offsetgroup
    assert whisper_decoder.marker.color == lane_colour("whisper")
    assert whisper_encoder.marker.pattern.shape
    assert not whisper_decoder.marker.pattern.shape


def test_speed_up_has_bars_a_line_at_one_and_the_total_with_its_interval(report):
    figure = figures.speed_up(report)
    (bars,) = traces(figure)
    assert list(bars.y) == [pytest.approx(4), pytest.approx(2), None]
    band, total, baseline = figure.layout.shapes
    assert (band.y0, band.y1) == (pytest.approx(2.7), pytest.approx(3.3))
    assert total.y0 == pytest.approx(1.2 / 0.4)
    assert baseline.y0 == 1


def test_one_sample_has_no_total():
    figure = figures.speed_up(make_report([make_clip("a", "whisper", 0.1, 0.3), make_clip("a", "distil", 0.1, 0.1)]))
    assert [shape.y0 for shape in figure.layout.shapes] == [1]


def test_the_same_clip_twice_is_two_samples():
    rows = [make_clip("a", lane, 0.1, 0.1 * number) for number in (1, 2) for lane in ("whisper", "distil")]
    assert list(figures.latency(make_report(rows)).data[0].x) == ["1", "2"]


def test_many_clips_are_points_in_their_order():
    report = benchmark()
    whisper, distil = figures.latency(report).data
    assert whisper.mode == distil.mode == "markers"
    assert whisper.marker.symbol != distil.marker.symbol
    assert list(whisper.x) == list(range(1, 21))
    assert list(whisper.y)[:2] == pytest.approx([0.3, 0.5])
    (ratios,) = figures.speed_up(report).data
    assert list(ratios.y)[:2] == pytest.approx([0.3 / 0.2, 0.5 / 0.3])


def test_slopes_go_through_the_points():
    figure = figures.tokens_and_time(benchmark())
    points, _, line, _ = figure.data
    assert list(points.x) == list(range(10, 201, 10))
    assert (line.y[1] - line.y[0]) / (line.x[1] - line.x[0]) == pytest.approx(0.02)
    assert list(line.y) == pytest.approx([points.y[0], points.y[-1]])


def test_few_clips_have_no_slope():
    assert figures.tokens_and_time(benchmark(clips=3)) is None


def test_one_long_clip_does_not_squash_the_others():
    rows = [make_clip(f"{number}", "whisper", 0.1, 0.2, generated_tokens=20 + number) for number in range(40)]
    rows.append(make_clip("long", "whisper", 0.3, 9.0, generated_tokens=890))
    figure = figures.tokens_and_time(make_report(rows))
    assert figure.layout.xaxis.range[1] < 100
    assert figure.layout.yaxis.range[1] < 1
    assert "1 clip beyond" in figure.layout.xaxis.title.text


def test_word_errors_against_speed():
    errors = {"word_errors": {"deletions": 1, "reference_words": 10}, "wer_interval": (0.05, 0.2), "rtfx": 8.0}
    figure = figures.words_and_speed(make_report(benchmark().clips, whisper=errors))
    (point,) = figure.data
    assert (point.x[0], point.y[0]) == (8.0, pytest.approx(10))
    assert point.error_y.array[0] == pytest.approx(10)
    assert point.error_y.arrayminus[0] == pytest.approx(5)


def test_without_references_there_is_no_chart_of_words():
    assert figures.words_and_speed(benchmark()) is None


def test_parameters_in_millions(models):
    figure = figures.parameters(models)
    lengths = [trace.x[0] for trace in traces(figure)]
    assert lengths == pytest.approx([636.78464, 906.52032, 636.78464, 119.43552])
    assert [note.text for note in figure.layout.annotations] == [" 1,543 M", " 756 M"]


@pytest.mark.parametrize(("tokens", "teacher", "student"), [(128, "4,096", "256"), (1, "32", "2")])
def test_decoder_passes_are_tokens_times_layers(models, tokens, teacher, student):
    figure = figures.decoder_passes(models, tokens)
    assert [sum(trace.x) for trace in figure.data] == [32 * tokens, 2 * tokens]
    texts = [note.text for note in figure.layout.annotations]
    assert teacher in texts[0]
    assert student in texts[1]


def test_a_checkpoint_of_two_lanes_is_drawn_once(models):
    again = models.lanes[0].model_copy(update={"lane_id": "faster-whisper"})
    figure = figures.decoder_passes(models.model_copy(update={"lanes": (*models.lanes, again)}), 128)
    assert [trace.name for trace in figure.data] == ["Whisper", "Distil-Whisper"]


def test_speed_runs_of_two_machines_in_one_chart():
    slow = make_speed(bandwidth_bytes_per_s=4e10)
    figure = figures.speed_tokens([make_speed(), slow])
    whisper, distil, limit = figure.data
    assert list(whisper.x) == [2800, 40]
    assert list(distil.y) == [0.5, 0.5]
    assert list(limit.y) == [1.0, 0.125, 1.0, 0.125]
    assert list(figures.speed_ratios([make_speed()]).data[0].x) == [4.5]


def test_a_chosen_run_stands_out():
    own, other = make_speed(), make_speed(pair="small.en")
    for draw in (figures.speed_tokens, figures.speed_ratios):
        assert list(draw([other, own], chosen=own).data[0].marker.opacity) == [figures.FAINT, 1]
        assert list(draw([other, own]).data[0].marker.opacity) == [1, 1]


def test_batches_are_drawn_where_there_are_several():
    assert figures.speed_batches([make_speed(), make_speed()]) is None
    figure = figures.speed_batches([make_speed(), make_speed(batch_size=4), make_speed(batch_size=16)])
    assert list(figure.data[0].x) == [1, 4, 16]


def test_lags_over_time():
    figure = figures.lags({"whisper": [(1.0, 0.5, 2.0), (2.0, 0.75, 2.5)], "distil": []})
    compute, policy = figure.data
    assert (list(compute.x), list(compute.y)) == ([1.0, 2.0], [0.5, 0.75])
    assert list(policy.y) == [2.0, 2.5]


def every_figure(report, models):
    errors = {"word_errors": {"deletions": 1, "reference_words": 10}}
    many = make_report(benchmark().clips, whisper=errors)
    runs = [make_speed(), make_speed(batch_size=4)]
    drawn = [draw(each) for _, draw in figures.BENCHMARK.values() for each in (report, many)]
    drawn += [figures.parameters(models), figures.decoder_passes(models, 128), figures.lags({"whisper": [(1, 1, 1)]})]
    drawn += [draw(runs) for draw in (figures.speed_tokens, figures.speed_ratios, figures.speed_batches)]
    return [figure for figure in [*drawn, figures.speed_times(runs[0])] if figure is not None]


def test_every_figure_has_a_height_units_and_no_background(report, models):
    drawn = every_figure(report, models)
    assert len(drawn) == 13
    for figure in drawn:
        assert figure.layout.height >= 250
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        titles = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
        assert any(title and "(" in title for title in titles)
        # A title would make Gradio reserve 100 pixels above it.
        assert figure.layout.title.text is None


def test_nothing_to_draw():
    empty = make_report([])
    assert [draw(empty) for _, draw in figures.BENCHMARK.values()] == [None] * 4
    assert figures.speed_tokens([]) is figures.speed_ratios([]) is figures.lags({}) is None


def test_names_are_text_in_every_chart():
    report = make_report([make_clip(HOSTILE, "whisper", 0.1, 0.2), make_clip(HOSTILE, "distil", 0.1, 0.1)])
    machine = MACHINE.model_copy(update={"device_name": HOSTILE})
    run = make_speed(pair=HOSTILE, machine=machine)
    for figure in (figures.latency(report), figures.speed_up(report), figures.speed_tokens([run])):
        assert "<img" not in figure.to_json()
        assert "&lt;img" in figure.to_json()
    assert "<img" not in figures.speed_ratios([run]).to_json()


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("panel", ["#ffffff", "#f8fafc", "#0f172a", "#1e293b", "#27272a"])
def test_lane_colours_stand_out_in_light_and_dark(colour, panel):
    assert contrast(colour, panel) >= 3


@pytest.mark.parametrize("colour", COLOURS)
def test_text_on_a_lane_colour_can_be_read(colour):
    assert contrast(colour, ON_COLOUR) >= 4.5


@pytest.mark.parametrize("ground", ["#ffffff", "#000000"])
def test_text_outside_a_page_can_be_read(ground):
    assert contrast(figures.INK, ground) >= 4.5


def test_the_page_shows_every_chart_of_a_benchmark():
    from components.ui.benchmarking import CHARTS

    assert list(CHARTS) == list(figures.BENCHMARK)
