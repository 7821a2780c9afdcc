"""Label-free test of whether a model is object-centric, for `slotcli.evaluation.verdict`.

Reconstruction error does not show it: degenerate runs have a lower one (SlotDiffusion, appendix
E.3). The audit measures whether a pixel's position determines its slot, whether labels follow a
shift of the image and the motion in it, and whether they are better than clusters. The shift needs
the model, so stored labels have no score for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from slotcli.errors import DataError
from slotcli.evaluation.figures import FIGURES
from slotcli.evaluation.label_free import (
    Segment,
    edge_alignment,
    identity_carry,
    position_determinism,
    shift_equivariance,
    slot_entropy,
    used_slots,
)
from slotcli.evaluation.picture_figures import PictureFigures, picture_figures
from slotcli.evaluation.verdict import CRITERIA, Verdict, judge
from slotcli.types import Size

RECOMMENDED_CLIPS = 64
ENOUGH_CLIPS = f"Give at least 2 unrelated clips, better {RECOMMENDED_CLIPS} or more."


@dataclass(frozen=True)
class SlotInformation:
    """The decoder's loss with each clip's own slots, and with another clip's slots."""

    own_loss: float
    other_loss: float

    @property
    def difference(self) -> float:
        """Increase of the loss with another clip's slots; near 0 the decoder ignores slots."""
        return self.other_loss - self.own_loss

    @property
    def ratio(self) -> float | None:
        """The difference divided by the loss with the clip's own slots; None if that is 0.

        Unlike the difference it is comparable between decoders with different losses.
        """
        return self.difference / self.own_loss if self.own_loss else None


@dataclass(frozen=True)
class AuditScores:
    """Label-free scores of the labels of `clips` unrelated clips.

    A score is None if it could not be computed; `reasons` has the reason.
    """

    clips: int
    position_determinism: float | None
    shift_equivariance: float | None
    edge_alignment: float | None
    edge_clips: int  # clips whose frames were available
    used_slots: float
    slot_entropy: float
    carry_first: float | None
    carry_later: float | None
    slot_information: float | None
    slot_information_ratio: float | None
    follows_motion: float | None = None
    edges_over_kmeans: float | None = None
    beyond_kmeans: float | None = None
    together: float | None = None
    connected: float | None = None

    @property
    def degeneration(self) -> float | None:
        """As `degeneration_score`; None if one of its parts is."""
        if self.position_determinism is None or self.shift_equivariance is None:
            return None
        return degeneration_score(
            self.position_determinism, self.shift_equivariance, self.used_slots
        )

    @property
    def figures(self) -> dict[str, float | None]:
        """The scores that decide the verdict, by their names in CRITERIA."""
        return {name: getattr(self, name) for name in CRITERIA}

    def verdict(self, ahead: Mapping[str, Sequence[str]] | None = None) -> Verdict:
        """As `judge`; `ahead` lists baselines that are no worse by true masks, if there are any."""
        return judge(self.figures, ahead, clips=self.clips)

    @property
    def passed(self) -> bool | None:
        """Whether the verdict without true masks passes; None if it is open."""
        return self.verdict().passed

    def with_pictures(self, found: PictureFigures) -> "AuditScores":
        """A copy with the figures that need the frames."""
        return replace(self, **asdict(found))

    @property
    def reasons(self) -> dict[str, str]:
        """The reason of each score that is None."""
        causes = {
            "position_determinism": f"{self.clips} clip is too few. {ENOUGH_CLIPS}",
            "shift_equivariance": "It needs the model.",
            "edge_alignment": "Labels without a border, or flat pictures."
            if self.edge_clips
            else "The pictures of no clip could be read.",
            "carry_first": "Clips of one frame.",
            "carry_later": "Clips of fewer than three frames.",
            "slot_information": "It needs the model's decoder.",
            "slot_information_ratio": "It needs the model's decoder."
            if self.slot_information is None
            else "The decoder's own loss is 0.",
            "degeneration": "One of its parts is not known.",
        }
        unknown = {name: criterion.unknown for name, criterion in CRITERIA.items()} | causes
        return {name: why for name, why in unknown.items() if getattr(self, name) is None}

    def as_dict(self) -> dict[str, Any]:
        """Every score, and the reasons of those that are None."""
        return {**asdict(self), "degeneration": self.degeneration, "reasons": self.reasons}


def audit(
    segment: Segment,
    frames: UInt8[Tensor, "b t 3 h w"],
    num_slots: int,
    *,
    shift: int,
    information: SlotInformation | None = None,
    against_pictures: bool = True,
) -> AuditScores:
    """Segment unrelated clips three times (whole, and as two shifted crops) and score the labels.

    `segment` takes all clips at once at the frames' size and batches them to fit its memory. With
    RECOMMENDED_CLIPS or more the numbers are stable; `shift` is in pixels, about a fifth of the
    frame; `information` is passed through. Without `against_pictures` the figures of motion and
    k-means are None, and so is the verdict. Raises DataError for fewer than 2 clips, a shift that
    leaves no overlap, and labels not below num_slots.
    """
    if len(frames) < 2:
        raise DataError(f"{len(frames)} clip to audit", ENOUGH_CLIPS)
    labels = segment(frames)
    scores = audit_labels(labels, num_slots)
    if against_pictures:
        scores = scores.with_pictures(picture_figures(zip(frames, labels, strict=True)))
    return replace(
        scores,
        shift_equivariance=shift_equivariance(segment, frames, shift),
        edge_alignment=edge_alignment(frames, labels),
        edge_clips=len(frames),
        slot_information=None if information is None else information.difference,
        slot_information_ratio=None if information is None else information.ratio,
    )


def audit_labels(labels: UInt8[np.ndarray, "b t h w"], num_slots: int) -> AuditScores:
    """Scores that need only the labels of unrelated clips; all others are None.

    Raises DataError for labels not below num_slots.
    """
    carry_first, carry_later = identity_carry(labels)
    return AuditScores(
        clips=len(labels),
        position_determinism=position_determinism(labels, num_slots) if len(labels) > 1 else None,
        shift_equivariance=None,
        edge_alignment=None,
        edge_clips=0,
        used_slots=used_slots(labels, num_slots),
        slot_entropy=slot_entropy(labels, num_slots),
        carry_first=carry_first,
        carry_later=carry_later,
        slot_information=None,
        slot_information_ratio=None,
    )


def audit_shift(size: Size) -> int:
    """Shift for the audit of a model of this size: a fifth of the frame, in pixels."""
    return max(1, min(size) // 5)


def degeneration_score(
    position_determinism: float, shift_equivariance: float, used_slots: float
) -> float:
    """Return one number in [0, 1] to rank seeds by, lower being better.

    The larger of position determinism and 1 - shift equivariance, but always 1 if fewer than two
    slots are used. It ranks runs of one recipe and is no verdict: barely trained networks score
    well.
    """
    if not FIGURES["used_slots"].passes(used_slots):
        return 1.0
    return max(position_determinism, 1 - shift_equivariance)
