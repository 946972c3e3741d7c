import pytest

from components.report import figures
from components.report.theme import COLOURS, lane_colour


def traces(figure):
    """Bars that carry figures, the two legend entries left out."""
    return [bar for bar in figure.data if None not in (*(bar.x or [None])[:1], *(bar.y or [None])[:1])]


def test_latency_stacks_decoder_on_encoder_in_one_group_a_sample(rows):
    figure = figures.latency_figure(rows)
    assert figure.layout.barmode == "stack"
    whisper_encoder, whisper_decoder, distil_encoder, distil_decoder = traces(figure)
    assert list(whisper_decoder.x) == ["1", "2", "3"]
    assert list(whisper_encoder.y) == [0.1, 0.1, 0.1]
    assert list(whisper_decoder.y) == [0.7, 0.3, 0.5]
    assert list(distil_decoder.y) == [0.1, 0.1, None]
    assert whisper_encoder.offsetgroup == whisper_decoder.offsetgroup != distil_encoder.offsetgroup
    assert whisper_decoder.marker.color == lane_colour("whisper")
    assert distil_encoder.marker.color == lane_colour("distil")
    assert whisper_encoder.marker.pattern.shape
    assert not whisper_decoder.marker.pattern.shape


def test_speed_up_has_a_line_at_one_and_the_total(rows):
    figure = figures.speed_up_figure(rows)
    (bars,) = traces(figure)
    assert list(bars.y) == [pytest.approx(4), pytest.approx(2), None]
    total, baseline = figure.layout.shapes
    assert (baseline.y0, baseline.name) == (1, "Whisper (dashed)")
    assert total.y0 == pytest.approx(1.2 / 0.4)
    assert bars.name == "Distil-Whisper, total 3.00× (dotted)"


def test_speed_up_without_the_baseline_draws_no_bar_and_no_total(make_run):
    figure = figures.speed_up_figure([make_run("a", "distil", 0.1, 0.1)])
    assert traces(figure) == []
    assert [shape.y0 for shape in figure.layout.shapes] == [1]


def test_parameters_in_millions(infos):
    figure = figures.parameters_figure(infos)
    lengths = [trace.x[0] for trace in traces(figure)]
    assert lengths == pytest.approx([636.78464, 906.52032, 636.78464, 119.43552])
    assert [note.text for note in figure.layout.annotations] == [" 1,543 M", " 756 M"]


@pytest.mark.parametrize(("tokens", "teacher", "student"), [(128, "4,096", "256"), (1, "32", "2")])
def test_decoder_passes_are_tokens_times_layers(infos, tokens, teacher, student):
    figure = figures.decoder_passes_figure(tokens, infos)
    drawn = [sum(trace.x) for trace in figure.data]
    assert drawn == [32 * tokens, 2 * tokens]
    texts = [note.text for note in figure.layout.annotations]
    assert f"Whisper: {teacher} layer passes" in texts[0]
    assert f"Distil-Whisper: {student} layer passes" in texts[1]


def test_a_checkpoint_of_two_lanes_is_drawn_once(infos):
    figure = figures.decoder_passes_figure(128, [*infos, infos[0].model_copy(update={"lane_id": "faster-whisper"})])
    assert [trace.name for trace in figure.data] == ["Whisper", "Distil-Whisper"]


def test_every_figure_has_a_height_units_and_no_background(rows, infos):
    drawn = (
        figures.latency_figure(rows),
        figures.speed_up_figure(rows),
        figures.parameters_figure(infos),
        figures.decoder_passes_figure(128, infos),
    )
    for figure in drawn:
        assert figure.layout.height >= 300
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert any(axis.title.text for axis in figure.select_xaxes())
        assert any(axis.title.text for axis in figure.select_yaxes())
        # A title would make Gradio reserve 100 pixels above it.
        assert figure.layout.title.text is None


def test_no_rows_and_no_models_are_empty_figures():
    assert traces(figures.latency_figure([])) == []
    assert traces(figures.speed_up_figure([])) == []
    assert traces(figures.parameters_figure([])) == []
    assert list(figures.decoder_passes_figure(128, []).data) == []


def test_a_clips_name_is_text_in_the_hover(make_run):
    name = "<img src=x onerror=alert(1)>"
    figure = figures.latency_figure([make_run(name, "whisper", 0.1, 0.2)])
    assert "<img" not in figure.to_json()
    assert figure.data[0].customdata[0][0] == "&lt;img src=x onerror=alert(1)&gt;"


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("panel", ["#ffffff", "#f8fafc", "#0f172a", "#1e293b", "#27272a"])
def test_lane_colours_stand_out_in_light_and_dark(colour, panel):
    low, high = sorted((luminance(colour), luminance(panel)))
    assert (high + 0.05) / (low + 0.05) >= 3
