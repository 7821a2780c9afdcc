"""Is a model object-wise? Scores of its labels without true ones, for `slotcli.evaluation.verdict`.

Reconstruction cannot tell: degenerate runs rebuild better (SlotDiffusion, appendix E.3). Does the
position of a pixel foretell its slot? Do labels follow the picture when it is shifted, and travel
with what moves? Are they more than clusters? Of stored labels the second cannot be asked.
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
    """The decoder's loss with each clip's own slots, and with those of another clip."""

    own_loss: float
    other_loss: float

    @property
    def difference(self) -> float:
        """How much more the decoder errs with another clip's slots; near 0 it ignores slots."""
        return self.other_loss - self.own_loss

    @property
    def ratio(self) -> float | None:
        """The difference as a multiple of the loss with the own slots; None where that is 0.

        Unlike the difference it can be set beside that of a decoder with another loss.
        """
        return self.difference / self.own_loss if self.own_loss else None


@dataclass(frozen=True)
class AuditScores:
    """What is known, without their truth, of the labels of `clips` unrelated clips.

    A score is None where it could not be computed; `reasons` says why.
    """

    clips: int
    position_determinism: float | None
    shift_equivariance: float | None
    edge_alignment: float | None
    edge_clips: int  # of which the pictures were there to be held against
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
        """As `degeneration_score`; None where one of its parts is."""
        if self.position_determinism is None or self.shift_equivariance is None:
            return None
        return degeneration_score(
            self.position_determinism, self.shift_equivariance, self.used_slots
        )

    @property
    def figures(self) -> dict[str, float | None]:
        """Those that decide, by the names of the verdict's CRITERIA."""
        return {name: getattr(self, name) for name in CRITERIA}

    def verdict(self, ahead: Mapping[str, Sequence[str]] | None = None) -> Verdict:
        """As `judge`; `ahead` has what true masks say of trivial decompositions, if there are."""
        return judge(self.figures, ahead, clips=self.clips)

    @property
    def passed(self) -> bool | None:
        """As the verdict without true masks."""
        return self.verdict().passed

    def with_pictures(self, found: PictureFigures) -> "AuditScores":
        """The same with figures that take pictures."""
        return replace(self, **asdict(found))

    @property
    def reasons(self) -> dict[str, str]:
        """Why a score is None."""
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
        """Every score, and the reasons of what is None."""
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
    """Segment unrelated clips three times (as they are, and two shifted crops) and score them.

    `segment` takes all clips at once at the frames' size and splits them as its memory asks.
    RECOMMENDED_CLIPS or more make the numbers steady; `shift` is in pixels, about a fifth of the
    frame; `information` is passed on. Without `against_pictures` the figures that take motion and
    k-means, and with them the verdict, stay open. Raises DataError for fewer than 2 clips, a shift
    that leaves no overlap, and labels not below num_slots.
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
    """What the labels of unrelated clips tell by themselves; the rest is None.

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
    """The shift to audit a model of this size with: a fifth of the frame, in pixels."""
    return max(1, min(size) // 5)


def degeneration_score(
    position_determinism: float, shift_equivariance: float, used_slots: float
) -> float:
    """Return one number in [0, 1] to rank seeds by, lower being better.

    The worse of position determinism and 1 - shift equivariance; and 1 where fewer than two slots
    are used, whatever the others say. It ranks runs of one recipe: it is no verdict, for a network
    of few steps has a good one.
    """
    if not FIGURES["used_slots"].passes(used_slots):
        return 1.0
    return max(position_determinism, 1 - shift_equivariance)
