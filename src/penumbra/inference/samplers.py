"""Samplers: which passes a prediction is made of, and what they cost.

A sampler is a product of at most one disturbance of the features (noise, dropout, …), the
symmetries of the images, and several networks. `Sampler.passes_of` writes the passes down before
any network runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from pydantic import ValidationError

from penumbra.errors import SettingsError, expected
from penumbra.noise.patterns import Pattern, PatternName

Disturbance = Literal["noise", "dropout", "dropblock", "multiplicative", "masksembles"]
Ensemble = Literal["ensemble", "cv-ensemble"]

DISTURBANCES: tuple[str, ...] = get_args(Disturbance)
ENSEMBLES: tuple[str, ...] = get_args(Ensemble)
_HEADS = ("logit-noise", "ssn")
_KINDS = ("deterministic", *DISTURBANCES, "augmentation", *ENSEMBLES, *_HEADS)
_DEFAULT_PASSES, _DEFAULT_SAMPLES = 8, 64
MOST_NOISE = 2
"""Standard deviations of a channel; more than that leaves nothing of the features."""
MASKS = 4
"""Masks of Masksembles; a further pass would repeat one of them."""
_TEXT = re.compile(
    r"(?P<kinds>[a-z*-]+)(:(?P<passes>\d+))?(@(?P<strength>[0-9.]+))?"
    r"(~(?P<pattern>[a-z]+)(?P<length>[0-9.]+)?)?"
)


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes:
        sample: number of its draw. 2j and 2j + 1 may be a pair of opposite noise, and so go
            through the same symmetry and network, where the two can cancel.
        symmetry: which of the symmetries, 0 = identity.
        member: which of the networks.
    """

    sample: int
    symmetry: int = 0
    member: int = 0


@dataclass(frozen=True)
class Cost:
    """What a prediction of one tile costs.

    Attributes:
        encoder_runs: runs of the encoder.
        decoder_runs: runs of what follows the encoder.
        samples: samples drawn after the network, which cost no pass.
    """

    encoder_runs: int
    decoder_runs: int
    samples: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        n = self.decoder_runs
        if not n:
            return "no forward pass"
        runs = f"{n} forward pass{'es' if n > 1 else ''}"
        if self.encoder_runs != n:
            once = f"{self.encoder_runs} run{'s' if self.encoder_runs > 1 else ''}"
            runs = f"{once} of the encoder and {n} of the decoder"
        return f"{runs}, {self.samples} samples" if self.samples else runs


@dataclass(frozen=True)
class Sampler:
    """A plan of passes.

    Attributes:
        disturbance: of the features, with its mask from the undisturbed pass; or ``None``.
        augmented: whether passes run through the symmetries that the images have.
        ensemble: whether passes run through several networks. Networks that differ by their seed
            are an ``ensemble``; those of the folds of one cross-validation a ``cv-ensemble``,
            which is another thing: its members saw different data.
        head: samples drawn behind a pass: noise in logit space, or a stochastic head.
        passes: how many, or how many samples of a head, evenly over symmetries and networks;
            ``None`` for as many as there are symmetries or networks.
        strength: of the disturbance: its rate, or its amplitude. Noise of a given strength is that
            many standard deviations of each channel of the features (`RelativeNoise`), whatever
            the run was calibrated or trained with.
        pattern: of noise of a given strength; ``None`` for the default.

    Examples:
        >>> Sampler.parse("noise*augmentation:8").augmented
        True
        >>> str(Sampler.parse("dropout")), Sampler.parse("deterministic").passes
        ('dropout:8', 1)
        >>> Sampler.parse("noise:8@0.3~perlin16").pattern.length
        16.0
    """

    disturbance: Disturbance | None = None
    augmented: bool = False
    ensemble: Ensemble | None = None
    head: Literal["logit-noise", "ssn"] | None = None
    passes: int | None = 1
    strength: float | None = None
    pattern: Pattern | None = None

    @classmethod
    def parse(cls, text: str) -> Sampler:
        """Read ``KIND[*KIND…][:PASSES][@STRENGTH[~PATTERN[LENGTH]]]``; length in pixels.

        Raises:
            SettingsError: the text is of another form, or its kinds do not go together.
        """
        match = _TEXT.fullmatch(text.strip())
        kinds = match["kinds"].split("*") if match else []
        if match is None or not set(kinds) <= set(_KINDS) or len(set(kinds)) != len(kinds):
            raise _refused(text, f"some of {', '.join(_KINDS)} joined by *, then :PASSES")
        disturbances = [kind for kind in kinds if kind in DISTURBANCES]
        ensembles = [kind for kind in kinds if kind in ENSEMBLES]
        heads = [kind for kind in kinds if kind in _HEADS]
        alone = {"deterministic", "ssn"} & set(kinds)
        drawn = len(disturbances) + len(heads)
        if drawn > 1 or len(ensembles) > 1 or (alone and len(kinds) > 1):
            raise _refused(text, "at most one of them drawn, with augmentation and an ensemble")
        passes = int(match["passes"]) if match["passes"] else None
        if passes is not None and not 1 <= passes <= 10_000:
            raise _refused(text, "of 1 to 10000 passes")
        strength = match["strength"]
        if strength is not None and not disturbances:
            raise _refused(text, "with a strength only for noise, dropout and their like")
        if match["pattern"] and (strength is None or disturbances != ["noise"]):
            raise _refused(text, "with a pattern only behind the strength of noise")
        if kinds == ["deterministic"]:
            passes = 1
        elif heads:
            passes = passes or _DEFAULT_SAMPLES
        elif disturbances:
            passes = passes or (MASKS if "masksembles" in kinds else _DEFAULT_PASSES)
        if "masksembles" in kinds and passes is not None and passes > MASKS:
            raise _refused(text, f"of at most {MASKS} passes, one per mask")
        return cls(
            disturbance=cast("Disturbance", disturbances[0]) if disturbances else None,
            augmented="augmentation" in kinds,
            ensemble=cast("Ensemble", ensembles[0]) if ensembles else None,
            head=cast("Literal['logit-noise', 'ssn']", heads[0]) if heads else None,
            passes=passes,
            strength=_strength(strength, text, noise=disturbances == ["noise"]),
            pattern=_pattern(match["pattern"], match["length"], text),
        )

    def __str__(self) -> str:
        """Write the sampler as `parse` reads it."""
        drawn = self.disturbance or self.head
        parts = [drawn, "augmentation" if self.augmented else None, self.ensemble]
        text = "*".join(part for part in parts if part) or "deterministic"
        if self.passes is not None and text != "deterministic":
            text += f":{self.passes}"
        text += f"@{_number(self.strength)}" if self.strength is not None else ""
        return text + ("" if self.pattern is None else f"~{_pattern_text(self.pattern)}")

    @property
    def samples(self) -> int:
        """How many samples a head draws."""
        return self.passes or _DEFAULT_SAMPLES

    @property
    def mask_from_off_pass(self) -> bool:
        """Whether the mask comes from a pass of its own, without any disturbance."""
        return self.disturbance is not None

    def passes_of(self, *, symmetries: int, members: int) -> tuple[Pass, ...]:
        """Write the passes down; those of a head are the networks' alone, without its samples.

        Args:
            symmetries: how many the images have.
            members: how many networks there are.

        Raises:
            SettingsError: augmentation of images without symmetries, an ensemble of one network,
                or more passes than there are different ones.
        """
        if self.augmented and symmetries < 2:
            raise SettingsError(
                expected("the images", "of a kind with symmetries", "one that has none",
                         "--symmetry horizontal, if mirror images could exist")
            )  # fmt: skip
        if self.ensemble and members < 2:
            raise SettingsError(
                expected("an ensemble", "of at least 2 runs", members, "--member RUN for each more")
            )
        s = symmetries if self.augmented else 1
        m = members if self.ensemble else 1
        count = s * m if self.head else self.passes or s * m
        if self.head and (self.passes or _DEFAULT_SAMPLES) % (2 * s * m) and s * m > 1:
            raise SettingsError(
                expected(f"the samples of {self}", f"a multiple of {2 * s * m}, a pair for each "
                         "symmetry and network", self.passes, "64")
            )  # fmt: skip
        if self.disturbance is None and count > s * m:
            raise SettingsError(
                expected(f"the passes of {self}", f"at most {s * m}, all that differ", count,
                         "fewer, or *noise for passes that differ by noise too")
            )  # fmt: skip
        if count % m:
            raise SettingsError(
                expected(f"the passes of {self}", f"a multiple of the {m} networks", count,
                         f"{m * max(1, round(count / m))}, since every network counts the same")
            )  # fmt: skip
        # Members change fastest, so that a few passes already hear every network.
        return tuple(
            Pass(_sample(k, s * m), symmetry=(k // m) % s, member=k % m) for k in range(count)
        )

    def cost(self, *, symmetries: int, members: int, encodes_once: bool) -> Cost:
        """Count the runs of encoder and decoder for one tile."""
        if self.head:
            runs = len(self.passes_of(symmetries=symmetries, members=members))
            return Cost(runs, runs, samples=self.samples)
        passes = self.passes_of(symmetries=symmetries, members=members)
        off = (members if self.ensemble else 1) if self.mask_from_off_pass else 0
        inputs = {(p.member, p.symmetry) for p in passes} | {(m, 0) for m in range(off)}
        decoder = len(passes) + off
        return Cost(len(inputs) if encodes_once else decoder, decoder)


def _sample(k: int, inputs: int) -> int:
    """Number the draws so that 2j and 2j + 1 are those of one input, j over inputs and rounds.

    Examples:
        >>> [_sample(k, 1) for k in range(4)], [_sample(k, 2) for k in range(6)]
        ([0, 1, 2, 3], [0, 2, 1, 3, 4, 6])
    """
    turn, which = divmod(k, inputs)
    return 2 * (which + inputs * (turn // 2)) + turn % 2


def _number(value: float) -> str:
    """Write a number so that reading it gives the same one back."""
    short = f"{value:g}"
    return short if float(short) == value else f"{value:.17f}".rstrip("0").rstrip(".")


def _pattern_text(pattern: Pattern) -> str:
    plain = Pattern(name=pattern.name)
    return pattern.name + ("" if pattern == plain else _number(pattern.length))


def _strength(text: str | None, whole: str, *, noise: bool) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise _refused(whole, "with a number behind @") from None
    if noise and not 0 <= value <= MOST_NOISE:
        raise _refused(whole, f"with noise of a strength from 0 to {MOST_NOISE}")
    if not noise and not 0 < value <= 10:
        raise _refused(whole, "of a strength above 0 and at most 10")
    return value


def _pattern(name: str | None, length: str | None, whole: str) -> Pattern | None:
    if name is None:
        return None
    try:
        return Pattern.model_validate({"name": name} | ({"length": length} if length else {}))
    except ValidationError:
        known = ", ".join(get_args(PatternName))
        raise _refused(whole, f"with one of {known} behind ~, and a length above 0") from None


def _refused(text: str, wanted: str) -> SettingsError:
    return SettingsError(expected("the sampler", wanted, repr(text), "'noise:8'"))
