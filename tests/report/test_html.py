"""Results as HTML, read back by a parser."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from components.core.scoring import word_errors
from components.core.speech import WARNINGS
from components.core.types import Difference, LaneFailure
from components.report import html
from components.report.headline import SILENCE
from tests.report.nouns import HOSTILE, MACHINE, make_clip, make_comparison, make_report, make_run, make_speed

VOID = {"meta", "img", "input", "br", "hr", "link"}


class Element:
    def __init__(self, tag, attributes, parent=None):
        self.tag, self.attributes, self.parent, self.children = tag, attributes, parent, []

    def __getitem__(self, name):
        return self.attributes[name]

    def get(self, name):
        return self.attributes.get(name)

    def all(self, tag=None, **attributes):
        """Every element below of this tag whose attributes hold these words; ``class`` is written ``kind``."""
        wanted = {("class" if name == "kind" else name.replace("_", "-")): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if isinstance(child, Element):
                held = (value in (child.get(name) or "").split() for name, value in wanted.items())
                found += [child] if tag in {None, child.tag} and all(held) else []
                found += child.all(tag, **attributes)
        return found

    def one(self, tag=None, **attributes):
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self):
        return " ".join("".join(child if isinstance(child, str) else child.text for child in self.children).split())


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = self.here = Element("root", {})

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag):
        assert self.here.tag == tag, f"{self.here.tag} is closed by {tag}"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.children.append(data)


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.here is reader.root, f"{reader.here.tag} is left open"
    return reader.root


def test_a_result_names_its_clip_and_models_and_gives_one_figure_with_its_range(compared):
    page = read(html.comparison(compared))
    assert page.one("h2").text == "clip.wav · 5.0 s"
    assert page.one("p", kind="models").text == "Whisper base vs distil-base · English"
    headline = page.one("section", kind="headline")
    assert headline["data-verdict"] == "faster"
    assert headline.one("p", kind="figure").text == "3.0× faster"
    assert headline.one("p", kind="range").text == "2.7 to 3.3× in 3 rounds"
    assert page.text.count("3.0×") == 1
    assert "AMD EPYC, 2 threads" in page.text
    assert "5.8×" in page.one("p", kind="published").text


def test_bars_share_one_axis(compared):
    race = read(html.comparison(compared)).one("section", kind="race")
    assert float(race["data-scale-s"]) == pytest.approx(0.9)
    whisper, distil = race.all("div", kind="race-lane")
    assert [float(whisper[f"data-{part}-s"]) for part in ("encoder", "decoder")] == pytest.approx([0.1, 0.8])
    assert float(distil["data-seconds"]) == pytest.approx(0.3)
    encoder, decoder = distil.one("rect", kind="encoder"), distil.one("rect", kind="decoder")
    assert float(encoder["width"]) == pytest.approx(1000 / 9, abs=0.1)
    assert float(decoder["x"]) == float(encoder["width"])
    assert distil.one("path", kind="steps")["d"].count("M") == 12
    assert "Distil-Whisper" in race.all("p", kind="where")[-1].text


def test_a_model_that_is_still_to_come_has_its_place_on_the_axis():
    first = make_comparison(make_run("whisper", (0.1, 0.8)))
    race = read(html.comparison(first, states={"distil": "running"})).one("section", kind="race")
    assert [lane["data-lane"] for lane in race.all("div", kind="race-lane")] == ["whisper", "distil"]
    assert float(race.one("div", kind="pending").one("rect")["width"]) == 0


def scored(lane_id, reference, text, language):
    score = word_errors(reference, text, language)
    fields = {"reference": reference, "word_errors": score.errors, "dropped": score.dropped, "language": language}
    return make_run(lane_id, (0.1, 0.8), text=text, **fields)


@pytest.mark.parametrize(
    ("language", "said", "written", "name", "differs"),
    [
        ("en", "a red house", "a rad house", "Word error rate", "1 word differs from what was said"),
        ("ja", "明日は雨です", "明日も雨です", "Character error rate", "1 character differs from what was said"),
    ],
)
def test_an_error_rate_says_what_it_counts(language, said, written, name, differs):
    compared = make_comparison(scored("whisper", said, written, language), language=language)
    card = read(html.comparison(compared)).one("article", kind="card")
    assert name in [heading.text for heading in card.all("dt")]
    assert card.one("p", kind="differs").text == differs
    totals = {"word_errors": compared.runs[0].word_errors}
    report = make_report([make_clip("clip", "whisper", 0.1, 0.8)], whisper=totals)
    assert name in read(html.totals_table(report)).text


def test_of_silence_there_is_one_sentence():
    runs = [make_run(lane, text="", warnings=(WARNINGS["silent"],)) for lane in ("whisper", "distil")]
    page = read(html.comparison(make_comparison(*runs)))
    assert page.one("section", kind="headline").text == SILENCE
    assert not page.all("article", kind="card")
    assert not page.all("ul", kind="warnings")


def test_what_was_left_out_of_the_reference_is_told_once():
    runs = [scored(lane_id, "[laughter] a red house", "a red house", "en") for lane_id in ("whisper", "distil")]
    (note,) = read(html.comparison(make_comparison(*runs))).one("ul", kind="notes").all("li")
    assert note.text == "Left out of what is said before scoring: 1 note or label."


def test_words_carry_when_they_were_written():
    at_s = (0.2, 0.3, 0.4, 0.9)
    run = make_run("whisper", (0.1, 0.8), text=" one two six ten", token_times_s=at_s, generated_tokens=4)
    page = read(html.comparison(make_comparison(run)))
    words = page.one("p", kind="transcript").all("span", kind="word")
    assert [(word.text, float(word["data-at-s"])) for word in words] == list(
        zip(("one", "two", "six", "ten"), at_s, strict=True)
    )
    assert page.one("p", kind="transcript").get("data-even") is None
    assert json.loads(page.one("div", kind="race-lane")["data-token-times-s"]) == list(at_s)


def test_even_words_are_said_to_be_so(compared):
    transcripts = read(html.comparison(compared)).all("p", kind="transcript")
    assert all("data-even" in transcript.attributes for transcript in transcripts)
    assert [float(word["data-at-s"]) for word in transcripts[0].all("span", kind="word")][-1] == pytest.approx(0.9)


def test_the_difference_stands_inside_the_card(compared):
    whisper, distil = read(html.comparison(compared)).all("article", kind="card")
    assert not whisper.all("del")
    assert distil.one("del", kind="substituted").text == "three"
    assert distil.one("ins", kind="substituted").text == "tree"
    assert distil.one("p", kind="transcript").text == "one two three tree four"
    assert distil.one("p", kind="differs").text == "1 word differs from Whisper"
    assert distil.one("p", kind="transcript")["lang"] == "en"
    assert distil.one("p", kind="transcript")["dir"] == "auto"


def test_with_a_reference_each_card_is_held_against_it():
    runs = [
        make_run(lane, (0.1, 0.2), text=text, reference="I have twenty cats")
        for lane, text in (("whisper", "I have 20 cats"), ("distil", "I had 20 cats too"))
    ]
    whisper, distil = read(html.comparison(make_comparison(*runs))).all("article", kind="card")
    assert not whisper.all("ins")  # a number is the same word in digits
    assert [each.text for each in distil.all("ins")] == ["had", "too"]
    assert distil.one("p", kind="differs").text.startswith("2 words differ")


def test_lanes_to_come_have_cards_and_the_figure_waits(compared):
    half = compared.model_copy(update={"runs": compared.runs[:1]})
    page = read(html.comparison(half, states={"distil": "running", "speculative": "waiting"}))
    assert [card["data-state"] for card in page.all("article")] == ["done", "running", "waiting"]
    assert page.one("section", kind="headline")["data-verdict"] == "measuring"
    assert not page.all("p", kind="figure")
    assert [card["data-lane"] for card in read(html.pending({"distil": "loading"})).all("article")] == ["distil"]


def test_a_lane_that_failed_says_why_in_its_card(compared):
    failure = LaneFailure(clip_id="clip.wav", lane_id="distil", message="Memory ran out.")
    page = read(html.comparison(compared.model_copy(update={"runs": compared.runs[:1], "failures": (failure,)})))
    (card,) = page.all("article", data_state="failed")
    assert "Memory ran out." in card.one("p", role="alert").text
    assert page.one("section", kind="headline")["data-verdict"] == "alone"


def test_a_warning_stands_once_in_its_card():
    runs = make_run("whisper", (0.1, 0.8)), make_run("distil", (0.1, 0.2), warnings=("It repeated itself.",))
    page = read(html.comparison(make_comparison(*runs)))
    assert page.one("ul", kind="warnings").text == "⚠ It repeated itself."
    assert not page.all("p", kind="figure")


def test_lines_can_be_played_and_downloaded(compared):
    lanes = read(html.lines(compared)).all("div", kind="lane-lines")
    line = lanes[1].one("button", kind="line")
    assert (line["data-start-s"], line["data-end-s"]) == ("0.000", "2.000")
    names = [link["download"] for link in lanes[0].all("a")]
    assert names == ["clip.wav.whisper.txt", "clip.wav.whisper.srt", "clip.wav.whisper.vtt"]


def test_a_visit_adds_up_from_two_clips_on(report):
    strip = read(html.visit(report)).one("p", kind="visit")
    assert strip["data-verdict"] == "faster"
    assert "3.0× faster" in strip.text
    assert html.visit(make_report(list(report.clips[:2]))) == ""


def test_tables_have_a_column_a_lane(report, models):
    page = read(html.totals_table(report))
    assert [head["data-lane"] for head in page.one("thead").all("th") if head.get("data-lane")] == ["whisper", "distil"]
    rows = {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in page.one("tbody").all("tr")}
    assert rows["Speed-up"] == ["–", "3.0×2.7 to 3.3×"]
    page = read(html.models_table(models))
    rows = {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in page.one("tbody").all("tr")}
    assert rows["Parameters"] == ["1,543,304,960", "756,220,160"]
    assert rows["Size"] == ["100.0 %", "49.0 %"]
    assert "Device" not in rows


def test_a_table_of_speed_leaves_out_what_no_run_has():
    heads = [head.text for head in read(html.speed_table([make_speed()])).one("thead").all("th")]
    assert not {"Machine", "Batch", "Memory used"} & set(heads)
    two = [make_speed(), make_speed(batch_size=4, machine=MACHINE.model_copy(update={"device_name": "Other"}))]
    heads = [head.text for head in read(html.speed_table(two)).one("thead").all("th")]
    assert {"Machine", "Batch"} <= set(heads)


def hostile_markup():
    run = make_run(
        "whisper",
        (0.1, 0.8),
        text=HOSTILE,
        checkpoint=HOSTILE,
        language=HOSTILE,
        warnings=(HOSTILE,),
        dtype=HOSTILE,
        clip_id=HOSTILE,
    )
    other = run.model_copy(update={"lane_id": HOSTILE, "text": f"{HOSTILE} more"})
    machine = MACHINE.model_copy(update={"device_name": HOSTILE})
    failure = LaneFailure(clip_id=HOSTILE, lane_id="distil", message=HOSTILE)
    compared = make_comparison(
        run,
        other,
        clip_id=HOSTILE,
        pair=HOSTILE,
        language=HOSTILE,
        notes=(HOSTILE,),
        failures=(failure,),
        machine=machine,
    )
    difference = Difference(clip_id=HOSTILE, lane_id=HOSTILE, words=1, baseline_wer=None, wer=None)
    clips = [make_clip(HOSTILE, lane, 0.1, 0.2) for lane in ("whisper", HOSTILE)]
    summary = {"warnings": (HOSTILE,), "differ_most": (difference,)}
    report = make_report(clips, data=HOSTILE, pair=HOSTILE, machine=machine, summary=summary)
    yield html.comparison(compared, states={HOSTILE: "running"}, note=HOSTILE)
    yield html.lines(compared)
    yield html.json_download(compared)
    yield html.benchmark_summary(report, HOSTILE)
    yield html.totals_table(report)
    yield html.differences_table(report)
    yield html.decoder_shares(report)
    yield html.speed_table([make_speed(pair=HOSTILE, machine=machine)])
    yield html.message(HOSTILE, problem=True)
    yield html.message(HOSTILE)
    yield html.steps(HOSTILE, [HOSTILE])
    yield html.masthead(HOSTILE, HOSTILE)
    yield html.note(HOSTILE)


def test_text_from_outside_is_never_markup():
    for markup in hostile_markup():
        page = read(markup)
        assert not page.all("img") + page.all("script")
        assert HOSTILE not in markup


def test_long_transcripts_are_shown_whole_and_at_once():
    long = " ".join(f"word{number}" for number in range(4000))
    run = make_run("whisper", (1, 9), text=long, audio_length_s=1800, generated_tokens=8000)
    page = read(html.comparison(make_comparison(run, run.model_copy(update={"lane_id": "distil"}))))
    assert len(page.all("article")[1].all("span", kind="word")) == 4000
    assert not page.all("path", kind="steps")
