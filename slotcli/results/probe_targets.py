"""Joins labels and features: the rows of each target, for objects and scenes by themselves."""

from dataclasses import dataclass

import numpy as np

from slotcli.evaluation.probe_labels import LabelColumn, LabelRow, Labels
from slotcli.evaluation.probing import ProbeRows
from slotcli.results.probe_features import OF_OBJECTS, OF_SCENES, ProbeFeatures


@dataclass(frozen=True)
class ProbeTarget:
    """A column of labels at one level of `LabelRow`, with the rows that have label and features."""

    column: LabelColumn
    level: str
    labels: list[LabelRow]
    rows: ProbeRows | None  # None without any
    missing: int  # cells

    @property
    def clips(self) -> int:
        return 0 if self.rows is None else len(np.unique(self.rows.clips))


def probe_targets(labels: Labels, features: ProbeFeatures) -> list[ProbeTarget]:
    """Every column at every level that has a label there, in the order of the file."""
    targets = list[ProbeTarget]()
    for column in labels.columns:
        known = ~np.isnan(column.values)
        by_level: dict[str, list[int]] = {}
        for index, row in enumerate(labels.rows):
            by_level.setdefault(row.level, []).append(index)
        for level, indices in by_level.items():
            if not known[indices].any():
                continue
            kept = [index for index in indices if known[index] and index in features.of_rows]
            targets.append(
                ProbeTarget(
                    column,
                    level,
                    [labels.rows[index] for index in kept],
                    _rows(column, kept, features, level) if kept else None,
                    missing=int((~known[indices]).sum()),
                )
            )
    return targets


def _rows(
    column: LabelColumn, indices: list[int], features: ProbeFeatures, level: str
) -> ProbeRows:
    found = [features.of_rows[index] for index in indices]
    return ProbeRows(
        clips=np.array([each.clip for each in found]),
        slots=np.stack([each.slots for each in found]),
        trivial=np.stack([each.trivial for each in found]),
        trivial_name=OF_OBJECTS if level.startswith("object") else OF_SCENES,
        target=column.values[indices],
        classes=column.classes,
    )
