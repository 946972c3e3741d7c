"""Live runs over real speech: an engine that reads known words tells whether buffer, agreement and clock are right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from components.core.audio import load_audio
from components.core.caller import NOBODY, Caller
from components.core.catalog import EXAMPLES
from components.core.errors import Cancelled
from components.core.manifests import read_manifest
from components.core.speech import find_speech
from components.core.types import SAMPLING_RATE, AudioClip, LaneSpec, Transcript
from components.engines.base import DecodingOptions, EngineOutput, Window
from components.engines.prompt import SpecialTokens
from components.runs.agreement import Agreement, TimedWord, repeated, timed_segments
from components.runs.live import LONGEST_BUFFER_S, LiveLane, LiveRun, Recording
from components.runs.pace import Pace, Paces

OPTIONS = DecodingOptions("en")
WORD_S, SENTENCE = 0.5, 8
END, FIRST_TIME = 5000, 5002


class Reader:
    """Writes one word for each half second of the recording, a full stop after eight; the last word is guessed wrong.

    It knows where its clip lies, since clips are views of the recording.
    """

    special = SpecialTokens(start=4999, end=END, no_timestamps=5001)
    runtime, runtime_note, warm, info = "eager", "", True, None

    def __init__(self, recording: Recording, compute_s: float = 0.0) -> None:
        self.recording, self.compute_s = recording, compute_s
        self.lengths_s: list[float] = []
        self.drafts: list[tuple[int, ...]] = []

    def transcribe(self, clip, options, stopwatch, caller=NOBODY):
        caller.check()
        self.drafts.append(options.draft)
        self.lengths_s.append(clip.audio_length_s)
        with stopwatch.part("generation"):
            first = self.recording.samples().__array_interface__["data"][0]
            start_s = (clip.samples.__array_interface__["data"][0] - first) / 4 / SAMPLING_RATE
            tokens = self.tokens(start_s, start_s + clip.audio_length_s)
        stopwatch.seconds["end_to_end"] = stopwatch.seconds.get("end_to_end", 0.0)
        window = Window(0.0, clip.audio_length_s, tuple(tokens))
        return EngineOutput(Transcript(""), len(tokens), windows=(window,))

    def tokens(self, start_s: float, end_s: float) -> list[int]:
        """Sentences as segments: a time, the words' numbers, a time."""
        words = list(range(round(start_s / WORD_S), int(end_s / WORD_S + 1e-6)))
        found: list[int] = []
        for sentence in sorted({word // SENTENCE for word in words}):
            own = [word for word in words if word // SENTENCE == sentence]
            times = [round((each * WORD_S - start_s) / 0.02) for each in (own[0], own[-1] + 1)]
            guessed = [own[-1] + 2000] if own[-1] == words[-1] else [own[-1]]
            found += [FIRST_TIME + times[0], *own[:-1], *guessed, FIRST_TIME + times[1]]
        return [*found, END]

    def text(self, tokens) -> str:
        return "".join(f" {token}{'.' * (token % SENTENCE == SENTENCE - 1)}" for token in tokens).strip()

    def synchronize(self) -> None: ...

    def reset_peak_memory(self) -> None: ...

    def peak_memory_bytes(self) -> None: ...


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A minute of somebody speaking."""
    rows = {row.clip_id: row for row in read_manifest(EXAMPLES)}
    samples = load_audio(rows["library"].audio).samples
    return np.tile(samples, 60 * SAMPLING_RATE // len(samples) + 1)[: 60 * SAMPLING_RATE]


@pytest.fixture
def clock(monkeypatch):
    """Measured times are what each reader says it takes, so that every figure is known."""

    def measured(engine, clip, options, caller):
        from components.core.types import Timing
        from components.runs.measure import Measurement, RequestStopwatch

        output = engine.transcribe(clip, options, RequestStopwatch(lambda: None), caller)
        zero = dict.fromkeys(("feature_time_s", "encoder_time_s", "decoder_time_s", "generation_time_s"), 0.0)
        return Measurement(output, Timing(**zero, end_to_end_time_s=engine.compute_s), None)

    monkeypatch.setattr("components.runs.live.measure", measured)


def lane(name: str, recording: Recording, compute_s: float) -> LiveLane:
    return LiveLane(LaneSpec(name, name, "whisper", name), Reader(recording, compute_s), Pace(compute_s, 0.0))


def words(text: str) -> list[int]:
    return [int(word.rstrip(".")) for word in text.split()]


def test_every_word_is_committed_once_and_in_order(speech, clock):
    recording = Recording(speech)
    run = LiveRun([lane("whisper", recording, 1.2), lane("distil", recording, 0.3)], recording, OPTIONS, NOBODY)
    passes = list(run.passes())
    assert run.finished
    for each in run.lanes:
        *heard, last = words(each.text)
        assert heard == list(range(119))
        assert last in {119, 2119}  # the last word is never confirmed by a second pass
        joined = " ".join(one.committed.strip() for one in passes if one.lane_id == each.lane.lane_id)
        assert words(joined) == words(each.text)
        assert max(each.engine.lengths_s) <= LONGEST_BUFFER_S


def test_the_buffer_is_cut_at_sentences(speech, clock):
    recording = Recording(speech)
    one = lane("whisper", recording, 0.5)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert max(one.engine.lengths_s) < 22
    starts_s = {round(each.audio_end_s - each.buffer_s, 2) for each in one.passes if each.buffer_s}
    assert starts_s <= {WORD_S * SENTENCE * number for number in range(15)}


@pytest.mark.parametrize("delay_s", [0.0, 2.0])
def test_a_known_delay_is_the_lag(speech, clock, delay_s):
    recording = Recording(speech)
    one = lane("whisper", recording, 0.5 + delay_s)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert one.lags().compute_median_s == pytest.approx(0.5 + delay_s, abs=0.01)
    assert one.lags().pass_interval_s == pytest.approx(0.5 + delay_s, abs=0.5)
    assert one.lags().cannot_keep_up_from_s is None


def test_lags_do_not_depend_on_who_else_runs(speech, clock):
    recording = Recording(speech)
    alone = lane("whisper", recording, 0.9)
    list(LiveRun([alone], recording, OPTIONS, NOBODY).passes())
    beside = [lane("whisper", recording, 0.9), *(lane(str(each), recording, 2.0) for each in range(4))]
    list(LiveRun(beside, recording, OPTIONS, NOBODY).passes())
    assert beside[0].passes == alone.passes


def test_words_do_not_depend_on_small_changes_of_speed(speech, clock):
    texts = []
    for compute_s in (0.8, 0.85, 0.95):
        recording = Recording(speech)
        one = lane("whisper", recording, 1.0)
        one.engine.compute_s = compute_s
        list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
        texts.append([(each.audio_end_s, each.committed) for each in one.passes])
    assert texts[0] == texts[1] == texts[2]


def test_a_pace_that_is_far_too_slow_holds_nothing_up(speech, clock):
    """As where it was measured while the machine was busy."""
    recording = Recording(speech)
    one = lane("whisper", recording, 10.0)
    one.engine.compute_s = 1.0
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert one.lags().pass_interval_s == pytest.approx(1.0, abs=0.2)


def test_a_lane_that_cannot_keep_up_says_since_when(speech, clock):
    recording = Recording(np.tile(speech, 3))
    slow, quick = lane("whisper", recording, 40.0), lane("distil", recording, 0.5)
    list(LiveRun([slow, quick], recording, OPTIONS, NOBODY).passes())
    assert 28 <= slow.lags().cannot_keep_up_from_s < 90
    assert quick.lags().cannot_keep_up_from_s is None
    assert slow.passes[-1].compute_lag_s > slow.passes[1].compute_lag_s + 20
    assert max(slow.engine.lengths_s) <= LONGEST_BUFFER_S


def test_four_minutes_take_no_more_room_or_lag_than_one(speech, clock):
    recording = Recording(np.tile(speech, 4))
    one = lane("whisper", recording, 1.5)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    late, early = (
        [each.compute_lag_s for each in one.passes if start_s < each.audio_end_s <= start_s + 50]
        for start_s in (180, 0)
    )
    assert max(late) <= max(early) + 0.01
    assert max(one.engine.lengths_s) <= LONGEST_BUFFER_S
    assert len(one._agreement.committed) <= LONGEST_BUFFER_S / WORD_S
    assert words(one.text)[:470] == list(range(470))
    assert one.lags().cannot_keep_up_from_s is None


class OneSegment(Reader):
    """Writes one segment; in a long buffer it wavers from the twelfth second on, and leaves out the last six."""

    def tokens(self, start_s: float, end_s: float) -> list[int]:
        stop_s = end_s - 6 if end_s - start_s > 18 else end_s
        first, end = round(start_s / WORD_S), int(stop_s / WORD_S + 1e-6)
        times = [round((each * WORD_S - start_s) / 0.02) for each in (first, end)]
        wavering = 2000 * (len(self.lengths_s) % 2)
        own = [word if word < first + 24 else word + wavering for word in range(first, end)]
        return [FIRST_TIME + times[0], *own, FIRST_TIME + times[1], END]


def test_what_a_model_left_out_of_a_full_buffer_is_heard_again(speech, clock, monkeypatch):
    recording = Recording(speech)
    one = LiveLane(LaneSpec("distil", "distil", "whisper", "x"), OneSegment(recording, 0.5), Pace(0.5, 0.0))
    monkeypatch.setattr(one, "_ends", lambda _: False)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert max(one.engine.lengths_s) == LONGEST_BUFFER_S
    assert [each % 2000 for each in words(one.text)][:100] == list(range(100))


def test_silence_is_not_transcribed_and_ends_what_was_said(speech, clock):
    silence = np.zeros(40 * SAMPLING_RATE, dtype=np.float32)
    recording = Recording(np.concatenate([speech[: 10 * SAMPLING_RATE], silence]))
    one = lane("whisper", recording, 0.5)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert max(each.audio_end_s for each in one.passes if each.buffer_s) < 14
    assert words(one.text)[:19] == list(range(19))


def test_only_silence_asks_no_model(clock):
    recording = Recording(np.zeros(20 * SAMPLING_RATE, dtype=np.float32))
    one = lane("whisper", recording, 0.5)
    assert list(LiveRun([one], recording, OPTIONS, NOBODY).passes()) == []
    assert (one.lags(), one.text, one.engine.lengths_s) == (None, "", [])


def test_audio_that_comes_in_pieces_gives_the_same(speech, clock):
    whole = Recording(speech)
    one = lane("whisper", whole, 0.7)
    expected = list(LiveRun([one], whole, OPTIONS, NOBODY).passes())
    growing = Recording()
    growing.append(np.zeros(len(speech), dtype=np.float32))  # so that the buffer never moves
    growing._length = 0
    run = LiveRun([lane("whisper", growing, 0.7)], growing, OPTIONS, NOBODY)
    found = []
    for start in range(0, len(speech), 3777):
        growing.append(speech[start : start + 3777])
        while (done := run.next_pass()) is not None:
            found.append(done)
    growing.ended = True
    found += list(run.passes())
    assert [replaced(each) for each in found] == [replaced(each) for each in expected]


def replaced(done):
    return done.audio_end_s, done.committed, done.tentative


def test_the_first_pass_waits_for_a_second_of_speech(speech, clock):
    """Wherever in the recording somebody begins to speak."""
    recording = Recording(np.concatenate([np.zeros(5 * SAMPLING_RATE, dtype=np.float32), speech[: 6 * SAMPLING_RATE]]))
    one = lane("whisper", recording, 0.5)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    from_s = find_speech(AudioClip("", recording.samples())).spans[0][0]
    assert one.passes[0].audio_end_s == pytest.approx(from_s + 1.0, abs=0.3)


def test_drafts_are_the_tokens_of_the_pass_before(speech, clock):
    """None where the buffer was cut; the words are the same with them."""
    runs = []
    for drafts in (False, True):
        recording = Recording(speech)
        one = LiveLane(LaneSpec("x", "x", "whisper", "x"), Reader(recording, 0.5), Pace(0.5, 0.0), drafts=drafts)
        list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
        runs.append(one)
    without, with_them = runs
    assert with_them.passes == without.passes
    assert set(without.engine.drafts) == {()}
    starts_s = [each.audio_end_s - each.buffer_s for each in with_them.passes if each.buffer_s]
    moved = [True, *(after > before + 0.01 for before, after in itertools.pairwise(starts_s))]
    assert [not draft for draft in with_them.engine.drafts] == moved
    assert sum(moved) > 2


def test_a_caller_who_leaves_ends_it(speech, clock):
    recording, asked = Recording(speech), iter([False] * 20)
    run = LiveRun([lane("whisper", recording, 0.5)], recording, OPTIONS, Caller(cancelled=lambda: next(asked, True)))
    with pytest.raises(Cancelled):
        list(run.passes())


def heard(*words: str) -> list[TimedWord]:
    """A hypothesis; signs have no key, and capitals make no difference to one."""
    keys = [word.strip(" ,.").casefold() for word in words]
    return [TimedWord((index,), key, float(index)) for index, key in enumerate(keys)]


def keys(words: list[TimedWord]) -> list[str]:
    return [word.key for word in words]


def test_two_passes_that_agree_settle_a_word():
    agreement = Agreement()
    assert agreement.update(heard("a", "b", "x")) == []
    assert keys(agreement.update(heard("A", "b", "c"))) == ["a", "b"]
    assert keys(agreement.tentative) == ["c"]
    assert keys(agreement.update(heard("a", "b", "c", "d"))) == ["c"]
    assert keys(agreement.settle()) == ["d"]


def test_a_full_stop_is_settled_with_the_word_after_it():
    """A model ends what it has heard so far with one, wherever that is."""
    agreement = Agreement()
    agreement.update(heard("a", "b", "."))
    assert keys(agreement.update(heard("a", "b", "."))) == ["a", "b"]
    assert keys(agreement.tentative) == [""]
    assert agreement.update(heard("a", "b", "c")) == []
    assert keys(agreement.update(heard("a", "b", ".", "c"))) == ["", "c"]


def test_words_that_leave_the_buffer_take_their_full_stop_along():
    agreement = Agreement()
    agreement.update(heard("a", "b", ".", "c"))
    agreement.update(heard("a", "b", ".", "x"))
    assert agreement.covers(3)
    assert not agreement.covers(4)
    assert keys(agreement.forget(3)) == [""]
    assert (agreement.committed, keys(agreement.tentative)) == ([], ["x"])
    assert keys(agreement.update(heard("x"))) == ["x"]


class Speller:
    """Each token is a piece of text, or bytes of a character."""

    special = Reader.special

    def __init__(self, *pieces: str | bytes) -> None:
        self.pieces = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
        self.output = EngineOutput(
            Transcript(""), 0, windows=(Window(0.0, 10.0, (FIRST_TIME, *range(len(pieces)), FIRST_TIME + 500, END)),)
        )

    def text(self, tokens) -> str:
        return b"".join(self.pieces[token] for token in tokens).decode(errors="replace").strip()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((" There", "'s", " iron", ",", " they", " say", "."), "There's|iron|, they|say|."),
        ((" a", " shop", "-", "boy", " or", " shop", "boy"), "a|shop|-boy|or|shopboy"),
        ((" 3", ".", "5", " %", " more"), "3|.5|% more"),
        (("今天", b"\xe5\xa4", b"\xa9", "气", "。"), "今天|天|气|。"),
    ],
)
def test_tokens_make_words(pieces, expected):
    engine = Speller(*pieces)
    (words,) = timed_segments(engine, engine.output, 5.0)
    assert "|".join(engine.text(word.tokens) for word in words) == expected
    assert [token for word in words for token in word.tokens] == list(range(len(pieces)))
    assert [bool(word.key) for word in words] == [each not in ".。" for each in expected.split("|")]
    assert words[-1].end_s == pytest.approx(15.0)


@pytest.mark.parametrize(("hypothesis", "length"), [("abcd", 3), ("axcd", 3), ("bcd", 2), ("zabcd", 4), ("", 0)])
def test_settled_words_that_come_again_differently_are_found(hypothesis, length):
    assert repeated(heard(*"abc"), heard(*hypothesis)) == length


@pytest.fixture
def pace(tmp_path, monkeypatch):
    """Paces as they are measured in a new process, whose passes of ten steps then take so long."""
    found = iter([(Pace(0.6, 0.04), True), (Pace(0.6, 0.04), False), (Pace(0.2, 0.04), False), (Pace(2.0, 0.0), False)])
    monkeypatch.setattr("components.runs.pace.measured_pace", lambda *_: next(found))

    def of(key: str, *took_s: float) -> Pace:
        paces = Paces(tmp_path / "paces.json", lambda: None)
        known = paces.of(Reader(Recording()), key, OPTIONS, NOBODY)
        paces.check(key, [(10, each) for each in took_s])
        return known

    return of


def test_a_pace_is_kept_while_passes_bear_it_out(pace, tmp_path):
    assert pace("a") == Pace(0.6, 0.04)  # on a busy machine: not kept
    assert pace("a", *[1.0] * 5) == pace("a", *[1.2] * 5) == pace("a", *[3.0] * 4) == Pace(0.6, 0.04)
    assert pace("a", *[0.6] * 5) == Pace(0.6, 0.04)  # far off: the next measures again
    assert pace("a") == pace("a") == Pace(0.2, 0.04)
    (tmp_path / "paces.json").write_text("torn")
    assert pace("a") == Pace(2.0, 0.0)


def test_a_full_buffer_alone_does_not_mean_that_a_lane_falls_behind(speech, clock, monkeypatch):
    """A model that writes one long segment gives nowhere to cut; its passes still take in all that has come."""
    recording = Recording(speech)
    one = lane("whisper", recording, 2.5)
    monkeypatch.setattr(one, "_ends", lambda _: False)
    list(LiveRun([one], recording, OPTIONS, NOBODY).passes())
    assert max(one.engine.lengths_s) == LONGEST_BUFFER_S
    assert one.lags().cannot_keep_up_from_s is None
