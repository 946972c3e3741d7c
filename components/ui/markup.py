"""The page's own HTML. Whatever did not come from this file goes through ``escape``: it is text, never markup."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from components.core import scoring
from components.core.catalog import checkpoint_name, lane_label
from components.core.types import BASELINE_LANE
from components.core.wording import counted
from components.report.subtitles import clock, to_srt, to_vtt
from components.report.tables import no_speed_up
from components.report.theme import lane_colour
from components.report.totals import decoder_share, lanes_of, total_speed_up
from components.report.totals import speed_ups as speed_ups_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from components.core.scoring import DiffSpan
    from components.core.types import Comparison, LaneFailure, LaneRun, ModelInfo, WordErrors

TITLE = "Whisper vs Distil-Whisper"
TAGLINE = (
    "Speak or pick a clip: Whisper and Distil-Whisper write it down one after the other, "
    "and you see how much faster the distilled one is on this machine."
)
NOTEBOOK_DECODER_SHARE = "over 90 %"
"""What the Distil-Whisper notebook says of Whisper large-v2 on an A100."""

UNITS = (
    "Latency is encoder plus decoder, as in the Distil-Whisper notebook; end to end is clip in, text out. "
    "RTFx, the inverse real-time factor, is seconds of audio for each second of latency."
)
TAG_WORDS = {"substituted": "changed", "inserted": "added", "deleted": "missing"}


def header() -> str:
    return f"<header class='masthead'><h1>{TITLE}</h1><p>{TAGLINE}</p></header>"


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


STAMP = {"pair": "Pair", "device_name": "Machine", "device": "Device", "dtype": "dtype", "attention": "Attention"} | {
    "runtime": "Runtime"
}
"""What the stamp shows, in this order, of what ``Lab.stamp`` tells."""


def stamp(values: Mapping[str, str], note: str = "") -> str:
    """The line that says what runs where; ``note`` is what a visitor must know of the pair."""
    items = "".join(
        f"<div><dt>{label}</dt><dd>{escape(values[name])}</dd></div>"
        for name, label in STAMP.items()
        if values.get(name)
    )
    runtime_note = values.get("note", "")
    return (
        f"<dl class='stamp'>{items}</dl>"
        + (f"<p class='where'>{escape(runtime_note)}</p>" if runtime_note else "")
        + (pair_note(note) if note else "")
    )


def pair_note(note: str) -> str:
    return f"<p class='pair-note'><strong>About this pair:</strong> {escape(note)}</p>"


def message(text: str, *, problem: bool = False, spoken_only: bool = False) -> str:
    """A line of status, read out by a screen reader when it changes; for nobody else where the page shows it anyway."""
    if problem:
        return f"<p class='status problem' role='alert'><span aria-hidden='true'>⚠</span> {escape(text)}</p>"
    return f"<p class='status{' spoken-only' if spoken_only else ''}' role='status'>{escape(text)}</p>"


def empty_state() -> str:
    return (
        "<section class='empty'><h2>Nothing measured yet</h2><ol>"
        "<li>Record a sentence with the microphone, upload a file, or pick an example clip.</li>"
        "<li>Press <strong>Run comparison</strong>.</li>"
        "<li>Read the two transcripts, and how many times faster the distilled model wrote its own.</li>"
        "</ol></section>"
    )


def result(comparison: Comparison, visit: Sequence[LaneRun], note: str) -> str:
    """All of a comparison that is read first: the figure, the transcripts, the words that differ."""
    return hero(comparison, visit, note) + cards(comparison) + word_diff(comparison)


def hero(comparison: Comparison, visit: Sequence[LaneRun], note: str) -> str:
    """The large figure, the machine that it holds for, and what makes it suspect; then this visit's total."""
    speed_ups = comparison.speed_up
    warnings = [f"{lane_label(run.lane_id)}: {text}" for run in comparison.runs for text in run.warnings]
    lane_id = next(iter(speed_ups), None)
    if lane_id is None:
        figure, sentence = "–", no_speed_up([run.lane_id for run in comparison.runs if run.timing is not None])
    else:
        figure = f"{speed_ups[lane_id]:.2f}<span class='times'>×</span>"
        sentence = _speed_sentence(lane_id, speed_ups[lane_id])
    others = "".join(
        f"<li>{_swatch(other)}{escape(lane_label(other))} <strong>{ratio:.2f}×</strong></li>"
        for other, ratio in speed_ups.items()
        if other != lane_id
    )
    spread = _spread(comparison)
    machine = comparison.machine
    where = " · ".join(
        escape(part)
        for part in (
            machine.device_name,
            counted(machine.threads, "thread") if machine.device == "cpu" else "",
            *(" and ".join(dict.fromkeys(values)) for values in zip(*_ran_with(comparison), strict=True)),
            f"{comparison.audio_length_s:.1f} s of audio",
        )
        if part
    )
    total = total_speed_up(visit, lane_id) if lane_id else None
    count = sum(ratio is not None for ratio in speed_ups_of(visit, lane_id)) if lane_id else 0
    return (
        f"<section class='hero{' suspect' if warnings else ''}' aria-label='Speed-up'><p class='figure'>{figure}</p>"
        f"<div class='hero-words'><p class='claim'>{sentence}</p>"
        f"<p class='where'>Holds for: {where}</p>"
        + _warnings(warnings)
        + (f"<p class='where'>{escape(spread)}</p>" if spread else "")
        + (f"<ul class='others'>{others}</ul>" if others else "")
        + (
            f"<p class='where'>This visit: {count} samples, total over total {total:.2f}×</p>"
            if count > 1 and total
            else ""
        )
        + (f"<p class='where'>The pair {escape(comparison.pair)}: {escape(note)}</p>" if note else "")
        + "</div></section>"
    )


def _ran_with(comparison: Comparison) -> list[tuple[str, str, str]]:
    return [(run.dtype, f"{run.attention} attention", f"{run.runtime} runtime") for run in comparison.runs]


def _speed_sentence(lane_id: str, ratio: float) -> str:
    lane, baseline = escape(lane_label(lane_id)), escape(lane_label(BASELINE_LANE))
    if 0.97 <= ratio <= 1.03:
        return f"{lane} was as fast as {baseline} on this clip"
    if ratio > 1:
        return f"{lane} was {ratio:.2f} times as fast as {baseline} on this clip"
    return f"{lane} was slower than {baseline} on this clip: {1 / ratio:.2f} times its time"


def _spread(comparison: Comparison) -> str:
    """Median and quartiles of each lane's repeats, where there are enough to speak of."""
    from statistics import quantiles

    repeats = max((len(run.repeats) for run in comparison.runs), default=0)
    if repeats < 2:
        return ""
    spans = []
    for run in comparison.runs:
        times = sorted(timing.generation_time_s for timing in run.repeats)
        if len(times) > 1:
            low, _, high = quantiles(times, n=4, method="inclusive")
            spans.append(f"{lane_label(run.lane_id)} {seconds(low)} to {seconds(high)}")
    return f"Median of {repeats} alternated repeats; middle half: {', '.join(spans)}"


def _warnings(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "".join(f"<li><span aria-hidden='true'>⚠</span> {escape(text)}</li>" for text in texts)
    return f"<ul class='warnings' aria-label='Warnings'>{items}</ul>"


def _swatch(lane_id: str) -> str:
    return f"<span class='swatch' style='background:{lane_colour(lane_id)}' aria-hidden='true'></span>"


def seconds(value: float | None) -> str:
    """Milliseconds below a second, else hundredths of one; ``–`` for nothing."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def cards(comparison: Comparison) -> str:
    """The transcripts side by side, in the lanes' colours; a lane that failed has a card that says why."""
    return (
        "<section class='cards' aria-label='Transcripts'>"
        + "".join(_card(run) for run in comparison.runs)
        + "".join(_failure_card(failure) for failure in comparison.failures)
        + f"</section><p class='where'>{UNITS}</p>"
    )


def _card(run: LaneRun) -> str:
    timing = run.timing
    facts = [
        ("Latency", seconds(timing.generation_time_s if timing else None)),
        ("Encoder", seconds(timing.encoder_time_s if timing else None)),
        ("Decoder", seconds(timing.decoder_time_s if timing else None)),
        ("End to end", seconds(timing.end_to_end_time_s if timing else None)),
        ("RTFx", f"{run.rtfx:.1f}×" if run.rtfx else "–"),
        ("Tokens", f"{run.generated_tokens:,}"),
    ]
    if run.word_errors is not None and run.word_errors.wer is not None:
        facts.append(("Word error rate", f"{run.word_errors.wer:.1%}"))
    text = escape(run.text.strip()) or "<em>No words</em>"
    return (
        f"<article class='card' style='--lane:{lane_colour(run.lane_id)}' data-lane='{escape(run.lane_id)}'>"
        f"<h3>{_swatch(run.lane_id)}{escape(lane_label(run.lane_id))}"
        f"<small>{escape(checkpoint_name(run.checkpoint))}</small></h3>"
        f"<p class='transcript'>{text}</p><dl class='facts'>"
        + "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
        + f"</dl>{_warnings(run.warnings)}</article>"
    )


def _failure_card(failure: LaneFailure) -> str:
    return (
        f"<article class='card failed' style='--lane:{lane_colour(failure.lane_id)}' "
        f"data-lane='{escape(failure.lane_id)}'><h3>{_swatch(failure.lane_id)}{escape(lane_label(failure.lane_id))}"
        f"</h3><p class='transcript' role='alert'>This lane did not run: {escape(failure.message)}</p></article>"
    )


def word_diff(comparison: Comparison) -> str:
    """Lane against lane, and each lane against the reference where there is one."""
    blocks = []
    if len(comparison.runs) > 1:
        first = comparison.run(BASELINE_LANE) or comparison.runs[0]
        for run in comparison.runs:
            if run is not first:
                spans = scoring.diff_spans(first.text, run.text)
                title = f"{lane_label(first.lane_id)} → {lane_label(run.lane_id)}"
                blocks.append(_diff(title, _differing(spans), spans))
    for run in comparison.runs:
        if run.reference and run.word_errors is not None:
            spans = scoring.diff_spans(run.normalized_reference or "", run.normalized_text or "")
            blocks.append(_diff(f"Reference → {lane_label(run.lane_id)}", _wer(run.word_errors), spans))
    if not blocks:
        return ""
    legend = "".join(f"<li><span class='{tag}'>{word}</span></li>" for tag, word in TAG_WORDS.items())
    return (
        f"<section class='diff' aria-label='Word by word'><h3>Word by word</h3>"
        f"<ul class='legend'>{legend}</ul>{''.join(blocks)}</section>"
    )


def _differing(spans: Sequence[DiffSpan]) -> str:
    count = sum(len((span.after or span.before).split()) for span in spans if span.tag)
    return "the same words" if not count else counted(count, "word differs", "words differ")


def _wer(errors: WordErrors) -> str:
    if errors.wer is None:
        return "no reference words to count against"
    return (
        f"WER {errors.wer:.1%}: {errors.substitutions} changed, {errors.deletions} missing, "
        f"{errors.insertions} added, of {errors.reference_words} words"
    )


def _diff(title: str, summary: str, spans: Iterable[DiffSpan]) -> str:
    words = " ".join(_changed(span) for span in spans)
    return f"<h4>{escape(title)} <small>{escape(summary)}</small></h4><p class='words'>{words}</p>"


def _changed(span: DiffSpan) -> str:
    """A span as it reads now; words that were replaced stand struck out before those that replaced them."""
    if span.tag is None:
        return escape(span.after)
    what = f"class='{span.tag}' title='{TAG_WORDS[span.tag]}'"
    gone = f"<del {what}>{escape(span.before)}</del>" if span.before else ""
    new = f"<ins {what}>{escape(span.after)}</ins>" if span.after else ""
    return f"{gone} {new}".strip()


def segments(comparison: Comparison) -> str:
    """A table of timestamps a lane, each with its subtitle files as links that carry their own content."""
    stem = comparison.clip_id or "clip"
    tables = []
    for run in comparison.runs:
        found = run.segments
        rows = "".join(
            f"<tr><td>{_short(part.start_s)}</td><td>{_short(part.end_s)}</td><td>{escape(part.text.strip())}</td></tr>"
            for part in found
        )
        name = f"{stem}.{run.lane_id}"
        tables.append(
            f"<div class='lane-table' style='--lane:{lane_colour(run.lane_id)}'>"
            f"<h4>{_swatch(run.lane_id)}{escape(lane_label(run.lane_id))}"
            f"<span class='downloads'>{_download(name + '.srt', to_srt(found), 'SRT', 'application/x-subrip')}"
            f"{_download(name + '.vtt', to_vtt(found), 'VTT', 'text/vtt')}</span></h4>"
            "<div class='scroll' tabindex='0' role='region' aria-label='Timestamps'><table><thead><tr>"
            "<th scope='col'>Start</th><th scope='col'>End</th><th scope='col'>Text</th></tr></thead>"
            f"<tbody>{rows or '<tr><td colspan=3>No timestamps</td></tr>'}</tbody></table></div></div>"
        )
    return f"<section class='segments'>{''.join(tables)}</section>"


def _short(seconds: float) -> str:
    """Minutes, seconds and thousandths; hours only where there are some."""
    return clock(seconds).removeprefix("00:")


def _download(filename: str, content: str, label: str, mime: str) -> str:
    """A link that holds the file itself, so that nothing of a visitor's is left on the server."""
    data = base64.b64encode(content.encode()).decode()
    return (
        f"<a class='download' download='{escape(filename)}' href='data:{mime};charset=utf-8;base64,{data}'"
        f" aria-label='Download {escape(filename)}'>{escape(label)} ↓</a>"
    )


def json_download(clip_id: str, content: str) -> str:
    return f"<p>{_download(f'{clip_id}.json', content, 'Download the JSON', 'application/json')}</p>"


def models_table(infos: Sequence[ModelInfo], note: str) -> str:
    """A column a lane: layers, parameters and ratios, and what it really runs with once it is loaded."""
    if not infos:
        return ""
    baseline = next((info for info in infos if info.lane_id == BASELINE_LANE), infos[0])
    head = "".join(
        f"<th scope='col' style='--lane:{lane_colour(info.lane_id)}' data-lane='{escape(info.lane_id)}'>"
        f"{_swatch(info.lane_id)}{escape(lane_label(info.lane_id))}"
        f"<small>{escape(checkpoint_name(info.checkpoint))}</small></th>"
        for info in infos
    )
    rows: dict[str, Callable[[ModelInfo], str]] = {
        "Encoder layers": lambda info: f"{info.encoder_layers}",
        "Decoder layers": lambda info: f"{info.decoder_layers}",
        "Parameters": lambda info: f"{info.num_parameters:,}",
        "of the encoder": lambda info: f"{info.encoder_parameters:,}",
        "of the decoder": lambda info: f"{info.decoder_parameters:,}",
        "Size": lambda info: f"{100 * info.num_parameters / baseline.num_parameters:.6f} %",
        "Size of the decoder": lambda info: f"{100 * info.decoder_parameters / baseline.decoder_parameters:.6f} %",
        "Device": lambda info: _loaded(info.device),
        "dtype": lambda info: _loaded(info.dtype),
        "Attention": lambda info: _loaded(info.attention),
    }
    body = "".join(
        f"<tr><th scope='row' class='{'part' if name.startswith('of the') else 'whole'}'>{name}</th>"
        f"{''.join(f'<td>{cell(info)}</td>' for info in infos)}</tr>"
        for name, cell in rows.items()
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Models'><table class='models'><thead><tr>"
        f"<td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p class='where'>Sizes are relative to {escape(lane_label(baseline.lane_id))}. They and the counts come from "
        "the configuration alone; device, dtype and attention are what a loaded model really uses.</p>"
        + (pair_note(note) if note else "")
    )


def _loaded(value: str | None) -> str:
    return escape(value) if value else "<em>not loaded yet</em>"


def why_faster() -> str:
    return (
        "<section><h3>Why fewer decoder layers are faster</h3>"
        "<p>The encoder reads up to 30 seconds of audio in one pass, and both models have the same one. The decoder "
        "runs once for every token it writes, through all of its layers: each line below is one layer, as long as the "
        "tokens written. The area is the work.</p></section>"
    )


def decoder_shares(visit: Sequence[LaneRun]) -> str:
    """How much of the generation time the decoder took in this visit, beside the notebook's figure."""
    shares = [(lane_id, decoder_share(visit, lane_id)) for lane_id in lanes_of(visit)]
    bars = "".join(
        f"<div class='share' style='--lane:{lane_colour(lane_id)}'><span>{_swatch(lane_id)}"
        f"{escape(lane_label(lane_id))}</span><span class='bar' aria-hidden='true'>"
        f"<span style='width:{100 * share:.1f}%'></span></span><strong>{share:.1%}</strong></div>"
        for lane_id, share in shares
        if share is not None
    )
    return (
        "<section class='shares'><h3>The decoder's share of generation time</h3>"
        + (bars or "<p class='where'>Run a clip on the Compare tab, and its measured share appears here.</p>")
        + f"<p class='where'>The Distil-Whisper notebook says {NOTEBOOK_DECODER_SHARE} for Whisper large-v2 on an "
        "A100. Above is what was measured on this machine in this visit.</p></section>"
    )
