"""Every figure that slotcli logs, shows or judges by: title, unit, limit, and how it is plotted.

Curves, tables, cards, pages and the verdict read this table.
"""

import operator
from dataclasses import dataclass
from typing import Any, Literal

_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt}
_SHARE = (0.0, 1.0)
_FROM_ZERO = (0.0, 0.0)


@dataclass(frozen=True)
class Figure:
    """A figure's title, and where it has a limit how it compares to it where it is good.

    A plot of it contains `span`; `noisy` figures are smoothed. `held_out` figures are of clips
    outside of training, and known at evaluations alone.
    """

    title: str
    unit: str = ""
    better: Literal[">", ">=", "<"] | None = None
    limit: float | None = None
    span: tuple[float, float] | None = None
    logarithmic: bool = False
    noisy: bool = False
    held_out: bool = True

    def passes(self, value: float | int) -> bool:
        """Whether a value is on the good side of the limit; any value where there is none."""
        if self.better is None or self.limit is None:
            return True
        return _COMPARISONS[self.better](value, self.limit)

    @property
    def wanted(self) -> str:
        """The limit as a table shows it."""
        return "" if self.better is None else f"{self.better} {self.limit:g}"

    @property
    def heading(self) -> str:
        """The title as it begins a line."""
        return self.title if self.title != self.title.lower() else self.title.capitalize()


# In the order they are plotted, first what chooses the best weights. Limits of the verdict:
# models/README.md has how they were set.
FIGURES = {
    "degeneration": Figure("degeneration", better="<", limit=0.5, span=_SHARE),
    "psnr": Figure("PSNR, dB"),
    "loss": Figure("loss", logarithmic=True, noisy=True, held_out=False),
    "denoising": Figure("denoising loss", logarithmic=True, noisy=True, held_out=False),
    "features": Figure("feature loss", logarithmic=True, noisy=True, held_out=False),
    "similarity": Figure("similarity loss", logarithmic=True, noisy=True, held_out=False),
    "mask": Figure("mask loss", logarithmic=True, noisy=True, held_out=False),
    "grouping": Figure("grouping loss", logarithmic=True, noisy=True, held_out=False),
    "slot_contrast": Figure("contrastive loss", logarithmic=True, noisy=True, held_out=False),
    "gradient_norm": Figure("gradient norm", logarithmic=True, noisy=True, held_out=False),
    "learning_rate": Figure("learning rate", span=_FROM_ZERO, held_out=False),
    "temperature": Figure("temperature", span=_SHARE, held_out=False),
    "codes_used": Figure("codes used per batch", noisy=True, span=_FROM_ZERO, held_out=False),
    "position_determinism": Figure(
        "position determinism", "share of entropy", "<", 0.7, span=_SHARE
    ),
    "shift_equivariance": Figure(
        "shift equivariance", "adjusted Rand index", ">", 0.25, span=_SHARE
    ),
    "used_slots": Figure("used slots", "slots per frame", ">=", 2.0, span=_FROM_ZERO),
    "slot_information": Figure("slot information", span=_FROM_ZERO),
    "slot_information_ratio": Figure("slot information", "share of the decoder's loss", ">", 0.02),
    "edge_alignment": Figure("edge alignment", span=(1.0, 1.0)),
    "slot_entropy": Figure("slot entropy", span=_SHARE),
    "carry_first": Figure("kept, frame 0 to 1", span=_SHARE),
    "carry_later": Figure("kept, later frames", span=_SHARE),
    "follows_motion": Figure("follows motion", "share of moving pixels", ">", 0.45),
    "edges_over_kmeans": Figure("edges over k-means", "share of the logarithm", ">", 0.3),
    "beyond_kmeans": Figure("beyond k-means", "times its distortion", ">", 1.25),
    "connected": Figure("connected", "share of pixels in their slot's largest piece", ">", 0.62),
    "together": Figure("the three together", "sum, the last as a logarithm", ">", 1.6),
    "fg_ari": Figure("FG-ARI", span=_SHARE),
    "ari": Figure("ARI", span=_SHARE),
    "miou": Figure("mIoU", span=_SHARE),
    "steps_per_second": Figure("steps/s", noisy=True, span=_FROM_ZERO, held_out=False),
    "data_wait": Figure("time waiting for data", noisy=True, span=_SHARE, held_out=False),
    "skipped": Figure("skipped steps", span=_SHARE, held_out=False),
    "rollbacks": Figure("returns to an earlier state", span=_SHARE, held_out=False),
}
# The figures that measure a run without labels, and those against true masks, which choose nothing.
LABEL_FREE = (
    "degeneration",
    "position_determinism",
    "shift_equivariance",
    "used_slots",
    "edge_alignment",
    "carry_first",
    "carry_later",
    "slot_information",
)
TRUE = ("fg_ari", "ari", "miou")
# Names in the logs and states of earlier versions.
_RENAMED = {"distortion": "grouping"}


def with_current_names(figures: dict[str, Any]) -> dict[str, Any]:
    """Logged figures, by name, under the names of this version."""
    return {_RENAMED.get(name, name): value for name, value in figures.items()}


def figure(name: str) -> Figure:
    """A figure by name; one that is not in the table is titled by its name."""
    return FIGURES.get(name) or Figure(name.replace("_", " "), held_out=False)
