"""A recording that a browser sends in pieces: put in order and resampled as one, nothing lost and nothing twice."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from components.core.recording import check_rate
from components.core.types import SAMPLING_RATE
from components.runs.live import Recording

if TYPE_CHECKING:
    import av

SILENT_S = 30.0
"""Seconds without a piece after which the recording counts as ended: the page is asleep, or its script has stopped."""


class Microphone:
    """16-bit mono PCM at the browser's own rate, in pieces that say with which sample they begin.

    ``received`` says which sample is wanted next. A piece that comes again is skipped as far as it is there already;
    one that would leave a gap is not taken, and has to be sent from ``received`` on.

    Args:
        rate: Sampling rate of the pieces, in hertz.
        longest_s: Length at which the recording ends by itself, in seconds.

    Raises:
        AudioError: no recording has such a rate.
    """

    def __init__(self, rate: int, longest_s: float) -> None:
        import av

        check_rate(rate)
        self.rate = rate
        self.longest = round(longest_s * rate)
        self.recording = Recording()
        self.received = 0
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLING_RATE)
        self._heard_at_s = monotonic()
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        return self.recording.ended

    def take(self, start: int, pcm: bytes, *, last: bool = False) -> None:
        """Take a piece, little-endian, that begins with sample ``start``. ``last``: nothing comes after it."""
        with self._lock:
            self._heard_at_s = monotonic()
            if self.recording.ended or start > self.received:
                return
            samples = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)[self.received - start :]
            self._append(samples[: self.longest - self.received])
            if last or self.received >= self.longest:
                self._end()

    def end(self) -> None:
        """Nothing more will come."""
        with self._lock:
            self._end()

    def end_if_silent(self) -> None:
        """End the recording where nothing has come for ``SILENT_S``."""
        if monotonic() - self._heard_at_s > SILENT_S:
            self.end()

    def _append(self, samples: np.ndarray) -> None:
        import av

        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self.rate
        self._keep(frame)
        self.received += len(samples)

    def _end(self) -> None:
        if not self.recording.ended:
            if self.received:
                self._keep(None)  # what the resampler still holds
            self.recording.ended = True

    def _keep(self, frame: av.AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame):
            self.recording.append(resampled.to_ndarray().reshape(-1))
