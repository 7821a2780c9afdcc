"""A model over many clips: its labels beside trivial ones, its pictures beside trivial ones."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.errors import DataError
from slotcli.evaluation.audit import RECOMMENDED_CLIPS, AuditScores, audit, audit_shift
from slotcli.evaluation.baselines import BASELINES
from slotcli.evaluation.intervals import MeanInterval, mean_interval
from slotcli.evaluation.reconstruction import SSIM_RADIUS, mse_sum, psnr, ssim
from slotcli.evaluation.segmentation import SegmentationScores, segmentation_scores
from slotcli.evaluation.segmenter import Segmenter, at_size
from slotcli.evaluation.sources import ClipSource
from slotcli.model import SlotModel, normalise
from slotcli.types import Clip

MODEL, CODEC, FIRST_FRAME = "model", "codec alone", "first frame copied"
AUDIT_FRAMES = 6  # of each clip, as in training
PICTURES = 4  # of each rendered clip
SAMPLER, EVALUATIONS = "singlestep", 20  # as the authors sample

Shown = dict[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """Scores of every clip, by the clip's name and then by row: the model, and what it is beside.

    `pictures` has fewer clips; `audit` is None where there were fewer than two clips.
    """

    segmentation: dict[str, dict[str, Shown]]
    pictures: dict[str, dict[str, Shown]]
    audit: AuditScores | None


def evaluate_model(
    model: SlotModel,
    num_slots: int,
    source: ClipSource,
    device: torch.device,
    *,
    rendered: int,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """Score a model on every clip of a labelled source; draw the first `rendered` clips too.

    Clips are loaded one at a time; only the audit's few small frames are kept. Raises DataError for
    clips without labels, and whatever a clip raises: one left out would change the mean.
    """
    segment = Segmenter(model, device)
    segmentation: dict[str, dict[str, Shown]] = {}
    pictures: dict[str, dict[str, Shown]] = {}
    for_audit: list[Tensor] = []
    for number, name in enumerate(source.names):
        clip = source.load(number)
        segmentation[name] = {
            row: asdict(scores)
            for row, scores in clip_scores(segment, clip, num_slots, seed=number).items()
        }
        if number < rendered:
            pictures[name] = picture_scores(model, segment, clip, device)
        if number < RECOMMENDED_CLIPS:
            for_audit.append(at_size(clip.frames[:AUDIT_FRAMES], model.size))
        progress(number + 1, len(source.names))
    judged = None
    if len(for_audit) > 1:
        length = min(len(frames) for frames in for_audit)
        frames = torch.stack([frames[:length] for frames in for_audit])
        judged = audit(segment, frames, num_slots, shift=audit_shift(model.size))
    return Evaluation(segmentation, pictures, judged)


def clip_scores(
    segment: Callable[[UInt8[Tensor, "b t 3 h w"]], UInt8[np.ndarray, "b t h w"]],
    clip: Clip,
    num_slots: int,
    *,
    seed: int,
) -> dict[str, SegmentationScores]:
    """Score the model's labels of one clip, and those of every trivial baseline with as many slots.

    Raises DataError for a clip without labels.
    """
    if clip.labels is None:
        raise DataError("The clip has no labels.", "Use slotcli audit, which needs none.")
    truth = clip.labels.numpy()
    rows = {MODEL: segmentation_scores(truth, segment(clip.frames[None])[0])}
    for name, baseline in BASELINES.items():
        rows[name] = segmentation_scores(truth, baseline(clip.frames, num_slots, seed))
    return rows


def picture_scores(
    model: SlotModel, segment: Segmenter, clip: Clip, device: torch.device
) -> dict[str, Shown]:
    """Score a few frames of a clip as the model draws them from their slots, at the model's size.

    Beside it, what bounds it: the codec alone from above, the clip's first frame from below.
    """
    chosen = spread(len(clip.frames))
    tracks = segment.tracks(clip.frames[None, : int(chosen[-1]) + 1])
    slots = torch.cat([track.slots[0] for _, track in tracks])[torch.from_numpy(chosen)]
    noise = model.decoder.noise(torch.Generator().manual_seed(0))
    frames = normalise(at_size(clip.frames, model.size)[[0, *chosen.tolist()]].to(device))
    first, original = frames[:1], frames[1:]
    drawn = {MODEL: model.decoder.render(slots, noise, SAMPLER, EVALUATIONS)}
    if isinstance(model.decoder, LatentDiffusion):
        with torch.no_grad():
            codec = model.decoder.codec
            drawn[CODEC] = codec.decode(codec.encode(original))
    drawn[FIRST_FRAME] = first.expand_as(original)
    return {row: _closeness(original, rebuilt) for row, rebuilt in drawn.items()}


def spread(length: int) -> Int64[np.ndarray, " k"]:
    """A few frames spread over a clip, the last among them, the first only if there is no other."""
    places = np.linspace(0, length - 1, PICTURES + 1).round().astype(np.int64)
    return np.unique(places[places > 0]) if length > 1 else places[:1]


def means(clips: dict[str, dict[str, Shown]]) -> dict[str, dict[str, MeanInterval]]:
    """The mean over clips of every score of every row, with its interval."""
    each = list(clips.values())
    rows = {row: list(scores) for row, scores in each[0].items()} if each else {}
    return {
        row: {name: mean_interval([clip[row][name] for clip in each], seed=0) for name in names}
        for row, names in rows.items()
    }


def better_baselines(rows: dict[str, dict[str, MeanInterval]], score: str) -> list[str]:
    """The trivial decompositions whose mean of a score is at least the model's."""
    own = rows[MODEL][score].mean
    return [
        row
        for row in BASELINES
        if own is not None and (other := rows[row][score].mean) is not None and other >= own
    ]


def _closeness(original: Float[Tensor, "b 3 h w"], rebuilt: Float[Tensor, "b 3 h w"]) -> Shown:
    """Scores of frames in [-1, 1], which the scores themselves take in [0, 1]."""
    x, y = (original.float() + 1) / 2, (rebuilt.float() + 1) / 2
    fits = min(x.shape[-2:]) > 2 * SSIM_RADIUS
    return {"psnr": psnr(x, y), "ssim": ssim(x, y) if fits else None, "mse": mse_sum(x, y)}
