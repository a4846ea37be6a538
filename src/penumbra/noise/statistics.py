"""What the features of a site usually are: mean and standard deviation of each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected

_MOMENTUM = 0.1


def name_of(site: str) -> str:
    """Give a site's name as part of a parameter's name, which may hold no dots.

    Examples:
        >>> name_of("encoder.layer1")
        'encoder/layer1'
    """
    return site.replace(".", "/")


class SiteStatistics(nn.Module):
    """Stored statistics per site: buffers ``std_SITE``, ``mean_SITE`` and ``measured_SITE``.

    Until a site is measured its deviations are one and its means zero. Weights that were saved
    before means were stored load as if their means were zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sites: tuple[str, ...] = ()
        self.register_load_state_dict_pre_hook(_fill_in_means)  # type: ignore[no-untyped-call]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the order in which they were added."""
        return self._sites

    def std(self, site: str) -> Tensor:
        """Give the stored standard deviations (C,) of a site.

        Raises:
            SettingsError: there is no such site.
        """
        return self._stored("std", site)

    def mean(self, site: str) -> Tensor:
        """Give the stored means (C,) of a site.

        Raises:
            SettingsError: there is no such site.
        """
        return self._stored("mean", site)

    def is_measured(self, site: str) -> bool:
        """Say whether the statistics of a site are those of features rather than the start's.

        Raises:
            SettingsError: there is no such site.
        """
        return bool(self._stored("measured", site))

    def require_measured(self) -> None:
        """Refuse to go on where a site has no statistics, so that noise would have no measure.

        Raises:
            SettingsError: no features of a site were ever measured.
        """
        for site in self.sites:
            if not self.is_measured(site):
                raise SettingsError(
                    expected(
                        f"the features at {site}",
                        "measured, since noise is relative to their standard deviation",
                        "no statistics",
                        "a pass over some images with noise_mode='training', or `measure`",
                    )
                )

    @torch.no_grad()
    def measure(self, site: str, h: Tensor) -> None:
        """Update the stored statistics of a site from features (N, C, H, W).

        The first features are taken as they are; later ones move the statistics by a tenth of the
        difference.
        """
        features = h.detach().float()
        now = features.std(dim=(0, 2, 3), correction=0), features.mean(dim=(0, 2, 3))
        known = self.is_measured(site)
        for what, new in zip(("std", "mean"), now, strict=True):
            kept = self._stored(what, site)
            kept.copy_(torch.lerp(kept, new, _MOMENTUM) if known else new)
        self._stored("measured", site).fill_(value=True)

    @torch.no_grad()
    def store(self, site: str, *, std: Tensor, mean: Tensor | None = None) -> None:
        """Store statistics that were measured elsewhere.

        Args:
            site: where.
            std: (C,), at least 0.
            mean: (C,); left as it is where ``None``.

        Raises:
            SettingsError: there is no such site, or a value is negative or not finite.
        """
        if not bool(torch.isfinite(std).all() and (std >= 0).all()):
            raise SettingsError(
                expected(f"the deviations at {site}", "finite and at least 0", "others",
                         "a network whose features are finite")
            )  # fmt: skip
        self._stored("std", site).copy_(std)
        if mean is not None:
            self._stored("mean", site).copy_(mean)
        self._stored("measured", site).fill_(value=True)

    def _add_statistics(self, site: str, channels: int) -> None:
        name = name_of(site)
        self._sites = (*self._sites, site)
        self.register_buffer(f"std_{name}", torch.ones(channels))
        self.register_buffer(f"mean_{name}", torch.zeros(channels))
        self.register_buffer(f"measured_{name}", torch.zeros((), dtype=torch.bool))

    def _stored(self, what: str, site: str) -> Tensor:
        self._require(site)
        return self.get_buffer(f"{what}_{name_of(site)}")

    def _require(self, site: str) -> None:
        if site not in self._sites:
            known = ", ".join(self._sites) or "(none added)"
            raise SettingsError(expected("the site", f"one of {known}", repr(site), "add_site"))


def _fill_in_means(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let weights from before there were means load."""
    for name, buffer in module.named_buffers(recurse=False):
        if name.startswith("mean_"):
            state.setdefault(prefix + name, torch.zeros_like(buffer))
