"""One clip through several lanes: loaded, warmed up, then timed one after another in alternating order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from components.core.caller import NOBODY, Caller
from components.core.normalizers import DEFAULT
from components.runs.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from components.core.types import AudioClip, Comparison, LaneSpec
    from components.engines.base import DecodingOptions
    from components.engines.pool import Pool
    from components.runs.session import Step


def compare(clip: AudioClip, lanes: Sequence[LaneSpec], pool: Pool, caller: Caller = NOBODY, **how: Any) -> Comparison:
    """Run every lane over one clip and return the whole result; arguments as those of ``compare_steps``.

    Raises:
        Cancelled: the caller left.
    """
    *_, last = Session(clip, lanes, pool, caller, **how, partial=False).steps()
    return cast("Comparison", last.comparison)


def compare_steps(
    clip: AudioClip,
    lanes: Sequence[LaneSpec],
    pool: Pool,
    caller: Caller = NOBODY,
    *,
    options: DecodingOptions,
    pair_id: str,
    reference: str | None = None,
    normalizer: str = DEFAULT,
    repeats: int | None = None,
    baseline_tokens: int | None = None,
    hear_language: bool = False,
    student_languages: tuple[str, ...] = (),
) -> Iterator[Step]:
    """Run every lane over one clip, in the order A B B A, score the transcripts, and say how it goes.

    Loading, warming up and detecting the language lie outside the clock, and so does what is done between two steps. A
    lane that fails becomes a ``LaneFailure`` and leaves the others alone. Silence, and what is too short for speech,
    are answered without the engines, since models write "Thank you" on it. Where no speech was found, or a model
    repeated itself, the words are kept and the times are not.

    Args:
        clip: The clip; every lane gets the same samples.
        lanes: The lanes, in the order of the result.
        pool: Where the engines come from.
        caller: Told what is being done; may leave at any token.
        options: How to decode; the same for every lane. With ``language=None`` the teacher's lane, or else the first,
            detects it once for all.
        pair_id: Noted in the result.
        reference: What was said: ``""`` for nothing at all, ``None`` where it is not known.
        normalizer: What reference and transcript are compared as; one of ``normalizers.NORMALIZERS``.
        repeats: Timed runs of each lane. ``None``: three to five, fewer where two seconds are measured, and one
            where a lane takes over ten.
        baseline_tokens: Tokens of the ``whisper`` lane on this clip, where it is known and not among ``lanes``.
        hear_language: Detect the language also where it is told, and note where the two disagree.
        student_languages: Codes of the languages that the student knows; noted where the clip's is none of them.

    Raises:
        Cancelled: the caller left.
        TextError: the reference is too long, or there is no such normaliser; before anything runs.
    """
    session = Session(
        clip,
        lanes,
        pool,
        caller,
        options=options,
        pair_id=pair_id,
        reference=reference,
        normalizer=normalizer,
        repeats=repeats,
        baseline_tokens=baseline_tokens,
        hear_language=hear_language,
        student_languages=student_languages,
    )
    return session.steps()
