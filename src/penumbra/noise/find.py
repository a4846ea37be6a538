"""Find the places of a network that noise can go to, and its decoder's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.probe import Feature, Probe, probe
from penumbra.noise.sites import Splits

SiteKind = Literal["skips", "encoder"]


def find_sites(
    module: nn.Module, kind: SiteKind = "skips", example: Tensor | None = None
) -> tuple[str, ...]:
    """Name a network's sites, finest first.

    ``skips`` are the features on their way to the decoder, the coarsest included: `site_names` of
    a network that follows the house's contract; the features that an encoder returns as a list
    (segmentation-models-pytorch, MONAI's FlexibleUNet, timm, hidden states of SegFormer); or the
    encoder's features among the arguments of the decoder's blocks (MONAI's BasicUNet). Where a
    network has none of these (a chain, such as VGG), they are those of ``encoder``.

    ``encoder`` are outputs that the encoder's next level sees too: `encoder_names`, or the last
    output at each resolution before the coarsest, and the last at the coarsest.

    Args:
        module: any network; it is left as it was.
        kind: which.
        example: images (N, C, H, W) for one forward pass, where the network has to be watched.

    Raises:
        SettingsError: no two resolutions are found; the text lists the outputs there are.

    Examples:
        >>> vgg = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        ...                     nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
        >>> find_sites(vgg)
        ('1', '4')
    """
    if kind not in ("skips", "encoder"):
        raise SettingsError(
            expected("the sites", "'skips', 'encoder' or a list of names", repr(kind), "'skips'")
        )
    if kind == "skips" and isinstance(module, Splits):
        return tuple(module.site_names)
    named = getattr(module, "encoder_names", None)
    if kind == "encoder" and isinstance(named, tuple):
        return named
    seen = probe(module, example)
    encoder = _encoder(seen)
    found = _skips(seen, encoder) if kind == "skips" else ()
    found = found or _stages(seen, encoder)
    if len({feature.area for feature in found}) < 2:
        raise SettingsError(
            expected("the network", "one whose encoder has several resolutions",
                     f"outputs {seen.table() or 'of other kinds'}", "sites=[names of some]")
        )  # fmt: skip
    return tuple(feature.place for feature in found)


def find_taps(module: nn.Module, example: Tensor | None = None) -> tuple[str, ...]:
    """Name the decoder's features, one per resolution, coarsest first.

    `tap_names` of a network that has them; else the last output at each resolution after the
    encoder and before the last layer with weights; the encoder's own where nothing follows it.

    Args:
        module: any network; it is left as it was.
        example: as for `find_sites`.

    Raises:
        SettingsError: the network has no features.
    """
    named = getattr(module, "tap_names", None)
    if isinstance(named, tuple):
        return named
    seen = probe(module, example)
    encoder = _encoder(seen)
    end = encoder[-1].order if encoder else 0
    listed = _listed(seen)
    end = listed[0].order if listed else end
    after = [f for f in seen.outputs if end < f.order < seen.classifier]
    coarsest = min((feature.area for feature in encoder), default=0)
    last = {feature.area: feature for feature in after if feature.area > coarsest}
    last = last or {feature.area: feature for feature in _stages(seen, encoder)}
    if not last:
        raise SettingsError(
            expected("the network", "one with features (N, C, H, W)", "none seen", "another one")
        )
    return tuple(last[area].place for area in sorted(last))


def _encoder(seen: Probe) -> list[Feature]:
    """Outputs up to the last at the coarsest resolution, before any finer one follows."""
    # One pixel is what squeeze-and-excitation and pooled context look at, and no level.
    rows = [f for f in seen.outputs if f.order < seen.classifier and f.area > 1]
    if listed := _listed(seen):
        areas = {feature.area for feature in listed}
        return [f for f in rows if f.order < listed[0].order and f.area in areas]
    if not rows:
        return []
    coarsest = min(feature.area for feature in rows)
    end = next(i for i, feature in enumerate(rows) if feature.area == coarsest)
    while end < len(rows) and rows[end].area == coarsest:
        end += 1
    return rows[:end]


def _stages(seen: Probe, encoder: Sequence[Feature]) -> tuple[Feature, ...]:
    """The last output at each resolution before a coarser one comes, finest first."""
    found: dict[int, tuple[int, Feature]] = {}
    # Attention may look at coarse copies on the way; where the encoder lists its features, what
    # its resolutions are is known.
    known = bool(_listed(seen))
    least = max((feature.area for feature in encoder), default=0)
    for feature in encoder:
        least = min(least, feature.area)
        if feature.area > least and not known:
            continue
        # Inside a block that halves the size, the first layers still have the old one; what the
        # block before gave is the level's feature, and not what they make of it.
        depth = sum(
            feature.place.startswith(f"{other.place}.") and other.area < feature.area
            for other in encoder
        )
        if feature.area not in found or depth <= found[feature.area][0]:
            found[feature.area] = (depth, feature)
    return tuple(found[area][1] for area in sorted(found, reverse=True))


def _skips(seen: Probe, encoder: Sequence[Feature]) -> tuple[Feature, ...]:
    for several in (_listed(seen), _consumed(seen, encoder)):
        if len({feature.area for feature in several}) > 1:
            return several
    return ()


def _listed(seen: Probe) -> tuple[Feature, ...]:
    """The features of the first submodule that gives several, before the network's end.

    Of submodules within each other the outer one, which the decoder takes them from.
    """
    rows = {
        name: features
        for name, features in seen.lists.items()
        if len({f.area for f in features}) > 1 and features[0].order < seen.classifier
    }
    outer = [n for n in rows if not any(n.startswith(f"{other}.") for other in rows)]
    return tuple(sorted(rows[outer[0]], key=lambda f: -f.area)) if outer else ()


def _consumed(seen: Probe, encoder: Sequence[Feature]) -> tuple[Feature, ...]:
    """The encoder's features as arguments of later calls, each where it is first taken."""
    if not encoder:
        return ()
    made = {feature.number for feature in encoder}
    # A call that holds a part of the encoder would show it the noise too.
    calls = [call for began, call in seen.arguments if began >= encoder[-1].order]
    callers = [call[0].place.rpartition("(")[0] for call in calls]
    taken: dict[int, Feature] = {}
    for call, name in zip(calls, callers, strict=True):
        for feature in call:
            if feature.number not in made:
                continue
            before = taken.get(feature.number)
            # An inner call ends first, but the outer one is where the feature comes in.
            if before is None or before.place.startswith(f"{name}."):
                taken[feature.number] = feature
    return tuple(sorted(taken.values(), key=lambda f: -f.area))
