"""spectrum: how strong a signal vibrates, and at which frequencies."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from config.params import Params
from pipelines.batch import BAD, F8, GOOD, I8, UNCERTAIN, Batch
from pipelines.fourier import densities, transform
from pipelines.jit import kernel
from pipelines.numerics import LARGEST
from pipelines.operator import SINGLE, Operator, column, rows_of

OVERLAP_MAX: Final = 64
NUMBERS: Final = ("rms", "peak", "crest", "kurtosis", "dominant", "rate")

TIE = 1.0 + 1e-9
"""Lines that differ by less are equally strong: rounding must not choose between them."""


class Spectrum(Params):
    """How many samples make a spectrum, how often, and which bands of it are told."""

    EXTRA_ROWS: ClassVar = (
        "size", "cosine", "sine", "taper", "taper_squares", "band_low", "band_high", "real", "imaginary",
    )  # fmt: skip
    SIZED_BY: ClassVar = ("n",)

    n: Literal[16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384] = Field(
        1024, description="Samples of a spectrum. Lines are rate / n apart."
    )
    hop: int | None = Field(
        None, ge=1, description="Samples from one spectrum to the next; default: n."
    )
    rate: float | None = Field(
        None,
        gt=0,
        description="Samples per second, where times are too coarse to tell; default: from the "
        "times of the samples.",
    )
    jitter: float = Field(
        0.1,
        gt=0,
        le=1,
        description="How much a gap between two samples may differ, as a share of the mean gap; "
        "with `rate`: how much the mean gap may differ from 1 / rate. Else nothing is known.",
    )
    window: Literal["hann", "none"] = Field(
        "hann",
        description="hann: fade samples in and out, so that a strong line does not leak over weak "
        "ones · none: take them as they are.",
    )
    bands: tuple[tuple[float, float], ...] = Field(
        (),
        max_length=16,
        description="[from, to] in Hz: also tell the power from there to right below there.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        hop = self.n if self.hop is None else self.hop
        if hop > self.n:
            raise ValueError(f"hop {hop} is more than n {self.n}: samples would count nowhere")
        if hop * OVERLAP_MAX < self.n:
            raise ValueError(
                f"each sample would be in {self.n // hop} spectra, at most {OVERLAP_MAX} are "
                f"allowed: take a hop of {self.n // OVERLAP_MAX} or more"
            )
        for low, high in self.bands:
            if not 0 <= low < high:
                raise ValueError(f"expected a band [from, to] with from < to, got [{low}, {high}]")
            if self.rate is not None and low > self.rate / 2:
                raise ValueError(
                    f"nothing is known about [{low:g}, {high:g}] Hz: a rate of {self.rate:g} "
                    f"samples per second shows frequencies up to {self.rate / 2:g} Hz"
                )
        if len(set(self.bands)) < len(self.bands):
            raise ValueError("bands names one band twice")
        return self

    @classmethod
    def extra_rows(cls, sets: Sequence["Spectrum"]) -> dict[str, Any]:
        """Lengths (R,), tables of angles and taper (R, n), bands (R, k), room to transform (R, n/2)."""
        shape = (len(sets), max(p.n for p in sets))
        made = {name: np.zeros(shape) for name in ("cosine", "sine", "taper")}
        for r, p in enumerate(sets):
            turn = 2 * np.pi * np.arange(p.n) / p.n
            made["cosine"][r, : p.n], made["sine"][r, : p.n] = np.cos(turn), np.sin(turn)
            made["taper"][r, : p.n] = 0.5 - 0.5 * np.cos(turn) if p.window == "hann" else 1.0
        made["size"] = np.array([p.n for p in sets], np.int64)
        made["taper_squares"] = np.array([np.sum(row**2) for row in made["taper"]])
        bands = np.array([p.bands for p in sets], np.float64).reshape(len(sets), -1, 2)
        half = (len(sets), shape[1] // 2)
        return made | {
            "band_low": bands[:, :, 0].copy(),
            "band_high": bands[:, :, 1].copy(),
            "real": np.zeros(half),
            "imaginary": np.zeros(half),
        }


class State(NamedTuple):
    """Per series its last n known samples: sample p of the series at slot p % n."""

    t_ns: I8 = column("i8", "size")
    x: F8 = column("f8", "size")
    seen: I8 = column("i8")
    unsure: I8 = column("i8")  # known samples up to and with the last UNCERTAIN one
    irregular: I8 = column("i8", SINGLE)  # spectra not made because of uneven times


Rows = rows_of(Spectrum)


@kernel
def rate_of(t_ns: I8, seen: int, n: int, rate: float, jitter: float) -> float:
    """Samples per second of the last `n` in a ring (W,); NaN where they are not even enough."""
    gap = (t_ns[(seen - 1) % n] - t_ns[seen % n]) / (n - 1)
    if gap <= 0:
        return math.nan
    if rate > 0:
        return rate if abs(gap * rate / 1e9 - 1.0) <= jitter else math.nan
    for i in range(1, n):
        if abs(t_ns[(seen + i) % n] - t_ns[(seen + i - 1) % n] - gap) > jitter * gap:
            return math.nan
    return float(1e9 / gap)


@kernel
def measure(x: F8, seen: int, n: int, rate: float, params: Any, p: int, told: F8) -> None:
    """Fill one row of fields from the last `n` numbers of a ring (W,)."""
    re, im, base, total = params.real[p], params.imaginary[p], x[0], 0.0
    for i in range(n):
        total += x[i] - base
    mean, peak = base + total / n, 0.0
    for i in range(n):
        peak = max(peak, abs(x[i] - mean))
    # As shares of the peak, so that the fourth power of no number is too large.
    unit, squares, fourths, h = peak if peak > 0 else 1.0, 0.0, 0.0, n // 2
    for i in range(n):
        y = (x[(seen + i) % n] - mean) / unit
        squares += y * y
        fourths += y * y * y * y
        y *= params.taper[p, i]
        if i % 2 == 0:
            re[i // 2] = y
        else:
            im[i // 2] = y
    transform(re, im, h, params.cosine[p], params.sine[p])
    scale = 1.0 / (rate * params.taper_squares[p])
    densities(re, im, h, params.cosine[p], params.sine[p], scale)
    most, strongest = im[0], h
    for k in range(1, h):
        most = max(most, re[k])
    for k in range(h - 1, 0, -1):
        strongest = k if re[k] * TIE >= most else strongest
    told[0], told[1] = unit * math.sqrt(squares / n), peak
    told[2] = math.sqrt(n / squares) if peak > 0 else math.nan
    told[3] = n * fourths / (squares * squares) if peak > 0 else math.nan
    told[4] = strongest * rate / n if peak > 0 else math.nan
    told[5] = rate
    for j in range(params.band_low.shape[1]):
        power = math.nan
        for k in range(h + 1):
            if params.band_low[p, j] <= k * rate / n < params.band_high[p, j]:
                power = (0.0 if math.isnan(power) else power) + (re[k] if k < h else im[0])
        told[6 + j] = power * (rate / n) * unit * unit


@kernel
def step(batch: Batch, first: int, state: State, params: Any, out: Batch) -> int:
    """Keep each known sample, and measure the last `n` of them every `hop` samples.

    Equivalent to: of the known samples x[0], x[1], ... of a series, spectrum w is of
    x[w hop : w hop + n] and gives a row with its last sample, from the time of its first to that
    of its last. With z = x - mean(x) the fields are rms sqrt(mean(z^2)), peak max |z|, crest
    peak / rms, Pearson's kurtosis mean(z^4) / mean(z^2)^2, the frequency of the strongest line
    above 0 Hz (of equals, the lowest), the rate, and for each band the sum of density times
    rate / n over the lines in it, NaN where it has none. The density is one-sided: |FFT(taper
    z)|^2 / (rate sum(taper^2)), doubled but at 0 and rate / 2; hann: 0.5 - 0.5 cos(2 pi i / n). A
    sine of amplitude A puts A^2 / 2 into its band. Value: rms. Without `rate` it is one over the
    mean gap, and each gap must be within `jitter` mean gaps of it; with it, the mean gap within
    jitter / rate of 1 / rate: else the row is BAD and counted. Quality: the worst of the samples'.
    |x| > 1e150 is not known; such count nowhere. Welch 1967, one segment.

    Heavy where hop is short: a spectrum costs n log n, 40 us for n = 1024. That is 40 ns for each
    sample of a hop of n, 2 us for each of a hop of n / 64.
    """
    n_out = out.count[0]
    for i in range(first, batch.series.size):
        s, t, x = batch.series[i], batch.t_ns[i], batch.value[i]
        if not abs(x) <= LARGEST or batch.quality[i] == BAD:
            continue
        p, seen = params.row[s], state.seen[s]
        n = params.size[p]
        hop = params.hop[p] if params.hop[p] > 0 else n
        state.t_ns[s, seen % n], state.x[s, seen % n] = t, x
        seen += 1
        state.seen[s] = seen
        if batch.quality[i] == UNCERTAIN:
            state.unsure[s] = seen
        if seen < n or (seen - n) % hop != 0:
            continue
        rate = rate_of(state.t_ns[s], seen, n, params.rate[p], params.jitter[p])
        out.series[n_out], out.t_ns[n_out] = s, t
        out.start_ns[n_out] = state.t_ns[s, seen % n]
        if rate > 0:
            measure(state.x[s, :n], seen, n, rate, params, p, out.fields[n_out])
            out.value[n_out] = out.fields[n_out, 0]
            out.quality[n_out] = UNCERTAIN if state.unsure[s] > seen - n else GOOD
        else:
            state.irregular[0] += 1
            out.value[n_out], out.quality[n_out] = np.nan, BAD
            for j in range(out.fields.shape[1]):
                out.fields[n_out, j] = np.nan
        n_out += 1
    out.count[0] = n_out
    return batch.series.size


def fields(params: Spectrum) -> tuple[str, ...]:
    """The numbers of each spectrum, then its bands: 10-200Hz."""
    return (*NUMBERS, *(f"{low:g}-{high:g}Hz" for low, high in params.bands))


OPERATOR = Operator(
    name="spectrum",
    summary="Strength, shape and frequencies of a vibration, from blocks of even samples.",
    params=Spectrum,
    state=State,
    rows=Rows,
    step=step,
    example="spectrum: {n: 1024, bands: [[10, 200], [200, 1000]]}",
    source="Welch 1967; Cooley & Tukey 1965",
    emits="window",
    fields=fields,
)
