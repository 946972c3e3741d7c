from html.parser import HTMLParser

import pytest

from components.core.types import (
    Comparison,
    LaneFailure,
    LaneRun,
    Machine,
    ModelInfo,
    Segment,
    Timing,
    WordErrors,
)
from components.ui import markup

HOSTILE = "<img src=x onerror=alert(1)>'\"&"
MACHINE = Machine(
    device="cpu", device_name=HOSTILE, platform="Linux", python="3.11", libraries={"torch": "2"}, threads=2
)


def timing(decoder_s):
    return Timing(
        feature_time_s=0.01,
        encoder_time_s=0.1,
        decoder_time_s=decoder_s,
        generation_time_s=0.1 + decoder_s,
        end_to_end_time_s=0.2 + decoder_s,
    )


def run(lane_id, decoder_s, **changes):
    timed = timing(decoder_s) if decoder_s else None
    fields = {
        "clip_id": "a",
        "lane_id": lane_id,
        "checkpoint": f"openai/{lane_id}",
        "text": "the cat sat",
        "segments": (Segment(start_s=0, end_s=1.5, text="the cat sat"),),
        "audio_length_s": 5.0,
        **(dict(timed) if timed else {}),
        "repeats": (timed,) if timed else (),
        "generated_tokens": 12,
        "dtype": "float32",
        "attention": "sdpa",
        "runtime": "eager",
    }
    return LaneRun(**(fields | changes))


def comparison(*runs, failures=(), **changes):
    fields = {"clip_id": "a", "audio_length_s": 5.0, "pair": "base", "machine": MACHINE}
    return Comparison(**(fields | {"runs": runs, "failures": failures} | changes))


class Page(HTMLParser):
    """Elements and text of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def assert_text_only(text):
    page = Page(text)
    assert "img" not in page.elements
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in " ".join(page.texts) or any(HOSTILE in (value or "") for _, value in page.attributes)


def test_whatever_comes_from_outside_is_text():
    words = {"reference": HOSTILE, "normalized_reference": HOSTILE, "normalized_text": HOSTILE, "warnings": (HOSTILE,)}
    hostile = {"text": HOSTILE, "segments": (Segment(start_s=0, end_s=1, text=HOSTILE),)}
    errors = WordErrors(substitutions=1, reference_words=4)
    runs = [
        run(
            lane,
            0.5,
            clip_id=HOSTILE,
            **hostile,
            checkpoint=HOSTILE,
            word_errors=errors,
            dtype=HOSTILE,
            **words,
        )
        for lane in ("whisper", HOSTILE)
    ]
    shown = comparison(
        *runs,
        failures=[LaneFailure(clip_id=HOSTILE, lane_id=HOSTILE, message=HOSTILE)],
        clip_id=HOSTILE,
        pair=HOSTILE,
    )
    info = ModelInfo(
        lane_id=HOSTILE,
        checkpoint=HOSTILE,
        num_parameters=10,
        encoder_parameters=5,
        decoder_parameters=5,
        encoder_layers=1,
        decoder_layers=1,
        dtype=HOSTILE,
        device=HOSTILE,
        attention=HOSTILE,
    )
    for text in (
        markup.result(shown, runs, HOSTILE),
        markup.segments(shown),
        markup.json_download(HOSTILE, "{}"),
        markup.stamp(dict.fromkeys((*markup.STAMP, "note"), HOSTILE), HOSTILE),
        markup.message(HOSTILE),
        markup.message(HOSTILE, problem=True),
        markup.models_table([info], HOSTILE),
        markup.decoder_shares(runs),
    ):
        assert_text_only(text)


def test_the_figure_and_the_machine_it_holds_for():
    shown = comparison(run("whisper", 0.9), run("distil", 0.1))
    page = Page(markup.hero(shown, shown.runs, ""))
    assert "5.00 ×" in page.text
    assert "Distil-Whisper was 5.00 times as fast as Whisper on this clip" in page.text
    assert "2 threads · float32 · sdpa attention · eager runtime · 5.0 s of audio" in page.text
    assert "This visit" not in page.text


@pytest.mark.parametrize(
    ("decoder_s", "sentence"),
    [(0.9, "was as fast as Whisper"), (1.9, "was slower than Whisper on this clip: 2.00 times its time")],
)
def test_a_lane_that_is_not_faster_is_not_praised(decoder_s, sentence):
    shown = comparison(run("whisper", 0.9), run("distil", decoder_s))
    assert sentence in Page(markup.hero(shown, shown.runs, "")).text


def test_without_the_baseline_or_times_there_is_no_figure():
    alone = comparison(run("distil", 0.5))
    assert "which was not timed" in Page(markup.hero(alone, alone.runs, "")).text
    silent = comparison(run("whisper", None), run("distil", None))
    text = Page(markup.hero(silent, silent.runs, "")).text
    assert "×" not in text
    assert "nothing was timed" in text


def test_warnings_stand_under_the_figure_and_on_the_card():
    shown = comparison(run("whisper", 0.9), run("distil", 0.1, warnings=("It wrote little.",)))
    assert "Distil-Whisper: It wrote little." in Page(markup.hero(shown, shown.runs, "")).text
    assert Page(markup.cards(shown)).text.count("It wrote little.") == 1


def test_repeats_show_their_spread():
    times = tuple(timing(t) for t in (0.4, 0.5, 0.6))
    shown = comparison(run("whisper", 0.5, repeats=times))
    assert (
        "Median of 3 alternated repeats; middle half: Whisper 550 ms to 650 ms"
        in Page(markup.hero(shown, shown.runs, "")).text
    )


def test_total_of_the_visit():
    first = [run("whisper", 0.9), run("distil", 0.1)]
    second = [run("whisper", 0.3, clip_id="b"), run("distil", 0.1, clip_id="b")]
    text = Page(markup.hero(comparison(*second), [*first, *second], "")).text
    assert "This visit: 2 samples, total over total 3.50×" in text


def test_a_lane_that_failed_has_a_card_that_says_why():
    shown = comparison(
        run("whisper", 0.5), failures=[LaneFailure(clip_id="a", lane_id="distil", message="Memory ran out.")]
    )
    page = Page(markup.cards(shown))
    assert "This lane did not run: Memory ran out." in page.text
    assert ("data-lane", "distil") in page.attributes


def test_words_that_differ_are_marked_by_more_than_colour():
    shown = comparison(run("whisper", 0.5), run("distil", 0.1, text="a cat sat down"))
    page = Page(markup.word_diff(shown))
    assert {"ins", "del"} <= set(page.elements)
    assert ("title", "added") in page.attributes
    assert "the a cat sat down" in page.text, "the word that was replaced and the one that replaced it"
    assert "Whisper → Distil-Whisper 2 words differ" in page.text


def test_word_errors_against_the_reference():
    errors = {"reference": "The cat", "normalized_reference": "the cat", "normalized_text": "the cat sat"}
    shown = comparison(run("whisper", 0.5, word_errors=WordErrors(insertions=1, reference_words=2), **errors))
    text = Page(markup.word_diff(shown)).text
    assert "Reference → Whisper WER 50.0%: 0 changed, 0 missing, 1 added, of 2 words" in text
    assert Page(markup.word_diff(comparison(run("whisper", 0.5)))).text == ""


def test_ratios_of_large_v2():
    infos = [
        ModelInfo(
            lane_id="whisper",
            checkpoint="openai/whisper-large-v2",
            num_parameters=1543304960,
            encoder_parameters=636784640,
            decoder_parameters=906520320,
            encoder_layers=32,
            decoder_layers=32,
        ),
        ModelInfo(
            lane_id="distil",
            checkpoint="distil-whisper/distil-large-v2",
            num_parameters=756220160,
            encoder_parameters=636784640,
            decoder_parameters=119435520,
            encoder_layers=32,
            decoder_layers=2,
        ),
    ]
    text = Page(markup.models_table(infos, "")).text
    assert "49.000047 %" in text
    assert "13.175162 %" in text
    assert "not loaded yet" in text


def test_decoder_share_beside_the_notebooks():
    text = Page(markup.decoder_shares([run("whisper", 0.9), run("distil", 0.1)])).text
    assert "Whisper 90.0%" in text
    assert "Distil-Whisper 50.0%" in text
    assert "over 90 %" in text
