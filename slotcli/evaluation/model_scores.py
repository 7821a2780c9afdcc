"""Scores a model on many clips: its labels and its reconstructions, each beside baselines."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.errors import DataError
from slotcli.evaluation.audit import RECOMMENDED_CLIPS, AuditScores, audit, audit_shift
from slotcli.evaluation.baselines import BASELINES, mosaic
from slotcli.evaluation.intervals import MeanInterval, mean_interval, pooled_interval
from slotcli.evaluation.perceptual import SMALLEST_SIDE, Lpips
from slotcli.evaluation.protocol import ProtocolScorer, Samples
from slotcli.evaluation.reconstruction import SSIM_RADIUS, mse_sum, psnr, ssim
from slotcli.evaluation.segmentation import (
    kept_identities,
    scores_per_frame,
    segmentation_scores,
)
from slotcli.evaluation.segmenter import Argmax, Segmenter, input_size, resize_frames
from slotcli.evaluation.slot_information import slot_information
from slotcli.evaluation.sources import ClipSource
from slotcli.model import SlotModel, normalise
from slotcli.types import Clip, Size, SlotTrack

MODEL, CODEC, FIRST_FRAME = "model", "codec alone", "first frame copied"
IDENTITY = "identity"  # a score of whole videos only
MEAN_COLOUR, MOSAIC = "mean colour", "k-means mosaic"
COLOUR_GRIDS = "colour grids alone"
AUDIT_FRAMES = 6  # per clip, as in training
PICTURES = 4  # frames per rendered clip
DRAWN_AT_ONCE = 8  # frames per batch, which bounds the memory

Rows = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class ClipScores:
    """The scores of one clip by row: the model, and its baselines.

    `video` folds time into space, `frames` are means over frames that were scored one by one;
    `pictures` is empty for a clip that was not rendered, `protocol` where none was asked for.
    """

    name: str
    video: Rows
    frames: Rows
    pictures: Rows
    protocol: dict[str, Samples]


@dataclass(frozen=True)
class Evaluation:
    """The scores of every clip; `audit` is None if there were fewer than two clips."""

    clips: list[ClipScores]
    audit: AuditScores | None

    @property
    def video(self) -> list[Rows]:
        return [clip.video for clip in self.clips]

    @property
    def frames(self) -> list[Rows]:
        return [clip.frames for clip in self.clips]

    @property
    def pictures(self) -> list[Rows]:
        return [clip.pictures for clip in self.clips if clip.pictures]

    @property
    def protocol(self) -> list[dict[str, Samples]]:
        return [clip.protocol for clip in self.clips if clip.protocol]


def evaluate_model(
    model: SlotModel,
    num_slots: int,
    source: ClipSource,
    device: torch.device,
    *,
    argmax: Argmax,
    rendered: int,
    pictures: int,
    lpips: Lpips | None,
    scored: Callable[[ClipScores, int, int], None],
    protocol: ProtocolScorer | None = None,
) -> Evaluation:
    """Score a model on every clip of a labelled source; render the first `rendered` clips too.

    Of each of those, `pictures` frames are rendered, unless the model has no decoder. `scored` is
    called with each clip's scores as soon as they are known, the number of clips done, and their
    total. A clip is loaded, scored and freed; only the audit's few small frames stay in memory.
    Raises DataError for clips without labels, and any error of a clip, because leaving the clip
    out would change the mean.
    """
    segment = Segmenter(model, device, argmax)
    scores: list[ClipScores] = []
    for_audit: list[Tensor] = []
    size: Size = model.size  # of the audit's frames, which all have one size
    for number, name in enumerate(source.names):
        clip = source.load(number)
        video, frames = label_scores(segment, clip, num_slots, seed=number)
        drawn = number < rendered and model.decoder.draws
        shown = picture_scores(model, segment, clip, device, pictures, lpips) if drawn else {}
        as_published = {} if protocol is None else protocol(number)
        scores.append(ClipScores(name, video, frames, shown, as_published))
        if number == 0:
            size = input_size(model, clip.frames)
        if number < RECOMMENDED_CLIPS:
            for_audit.append(resize_frames(clip.frames[:AUDIT_FRAMES].clone(), size))
        scored(scores[-1], number + 1, len(source.names))
    judged = None
    if len(for_audit) > 1:
        length = min(len(frames) for frames in for_audit)
        together = torch.stack([frames[:length] for frames in for_audit])
        judged = audit(
            Segmenter(model, device, argmax, size=size),
            together,
            num_slots,
            shift=audit_shift(size),
            information=slot_information(model, together, device),
        )
    return Evaluation(scores, judged)


def label_scores(
    segment: Callable[[UInt8[Tensor, "b t 3 h w"]], UInt8[np.ndarray, "b t h w"]],
    clip: Clip,
    num_slots: int,
    *,
    seed: int,
) -> tuple[Rows, Rows]:
    """Score the labels of the model, and of every trivial baseline with as many slots, for a clip.

    Returns the scores of the video as a whole, and the means over its frames. Raises DataError for
    a clip without labels.
    """
    if clip.labels is None:
        raise DataError("The clip has no labels.", "Use slotcli audit, which needs none.")
    truth = clip.labels.numpy()
    video, frames = {}, {}
    for row in (MODEL, *BASELINES):
        if row == MODEL:
            labels = segment(clip.frames[None])[0]
        else:
            labels = BASELINES[row](clip.frames, num_slots, seed)
        kept = {IDENTITY: kept_identities(truth, labels)}
        video[row] = asdict(segmentation_scores(truth, labels)) | kept
        frames[row] = asdict(scores_per_frame(truth, labels))
    return video, frames


def picture_scores(
    model: SlotModel,
    segment: Segmenter,
    clip: Clip,
    device: torch.device,
    count: int,
    lpips: Lpips | None,
) -> Rows:
    """Score a few frames of a clip, reconstructed from their slots, at the model's size.

    Other rows are bounds: the codec alone (if there is one) from above; from below the clip's
    first frame, each frame's mean colour, a mosaic of as many colours as there are slots, and of
    slots that keep colour grids the grids without the decoder.
    """
    chosen = evenly_spaced(len(clip.frames), count)
    tracks = segment.tracks(clip.frames[None, : int(chosen[-1]) + 1])
    track = SlotTrack.concatenate([track for _, track in tracks])
    rows = torch.from_numpy(chosen)
    slots, seen = track.slots[0][rows], track.layout[rows]
    pictures = resize_frames(clip.frames[[0, *chosen.tolist()]], model.size)
    frames = normalise(pictures.to(device))
    first, original = frames[:1], frames[1:]
    parts = [slice(at, at + DRAWN_AT_ONCE) for at in range(0, len(slots), DRAWN_AT_ONCE)]
    reconstructions = [
        model.decoder.render(slots[part], RenderOptions(), seen[part]) for part in parts
    ]
    images = {MODEL: torch.cat(reconstructions)}
    codec = getattr(model.decoder, "codec", None)
    if isinstance(codec, Vqvae | Dvae):
        with torch.no_grad():
            decoded = [_coded(model.decoder, codec, part) for part in original.split(DRAWN_AT_ONCE)]
        images[CODEC] = torch.cat(decoded)
    images[FIRST_FRAME] = first.expand_as(original)
    images[MEAN_COLOUR] = original.mean((2, 3), keepdim=True).expand_as(original)
    mosaics = [mosaic(picture, slots.shape[1], seed=0) for picture in pictures[1:]]
    images[MOSAIC] = normalise(torch.stack(mosaics).to(device))
    if isinstance(model.decoder, LatentDiffusion):
        colours = model.decoder.condition.colours(seen.to(device))
        if colours is not None:
            images[COLOUR_GRIDS] = F.interpolate(colours, size=model.size, mode="bilinear")
    return {row: _closeness(original, rebuilt, lpips) for row, rebuilt in images.items()}


def _coded(
    decoder: object, codec: Vqvae | Dvae, frames: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """Frames through the codec alone, as the decoder uses it."""
    if isinstance(decoder, LatentDiffusion):
        return decoder.decode(decoder.target(frames))
    return codec.decode(codec.encode(frames))


def evenly_spaced(length: int, count: int = PICTURES) -> Int64[np.ndarray, " k"]:
    """Indices of at most `count` frames spread over a clip, including the last.

    The first frame is only used if there is no other, because copying it would score perfectly.
    """
    indices = np.linspace(0, length - 1, count + 1).round().astype(np.int64)
    return np.unique(indices[indices > 0]) if length > 1 else indices[:1]


def mean_scores(clips: Sequence[Rows]) -> dict[str, dict[str, MeanInterval]]:
    """Mean over clips of every score of every row, with its confidence interval."""
    rows = {row: list(scores) for row, scores in clips[0].items()} if clips else {}
    return {
        row: {name: mean_interval([clip[row][name] for clip in clips], seed=0) for name in names}
        for row, names in rows.items()
    }


def pooled_scores(clips: Sequence[dict[str, Samples]]) -> dict[str, dict[str, MeanInterval]]:
    """Mean over the samples of all clips of every score of every row, with its interval."""
    rows = {row: list(scores) for row, scores in clips[0].items()} if clips else {}
    return {
        row: {name: pooled_interval([clip[row][name] for clip in clips], seed=0) for name in names}
        for row, names in rows.items()
    }


def count_undefined(clips: Sequence[Rows]) -> dict[str, int]:
    """Per score, the number of clips where it is undefined, for the model as for the baselines."""
    names = clips[0][MODEL] if clips else {}
    missing = {name: sum(clip[MODEL][name] is None for clip in clips) for name in names}
    return {name: count for name, count in missing.items() if count}


def missing_samples(clips: Sequence[dict[str, Samples]]) -> dict[str, tuple[int, int]]:
    """Per score of a protocol that some sample lacks: the number of these, and of all samples."""
    found: dict[str, tuple[int, int]] = {}
    for name in clips[0][MODEL] if clips else ():
        values = [value for clip in clips for value in clip[MODEL][name]]
        missing = sum(value is None for value in values)
        if missing or not values:
            found[name] = missing, len(values)
    return found


def better_baselines(rows: dict[str, dict[str, MeanInterval]], score: str) -> list[str]:
    """Names of the baselines whose mean of a score is at least the model's."""
    mean = rows[MODEL][score].mean
    return [
        row
        for row in BASELINES
        if mean is not None and (other := rows[row][score].mean) is not None and other >= mean
    ]


def _closeness(
    original: Float[Tensor, "b 3 h w"], rebuilt: Float[Tensor, "b 3 h w"], lpips: Lpips | None
) -> dict[str, float | None]:
    """Reconstruction scores of frames in [-1, 1]; all but LPIPS are computed in [0, 1]."""
    x, y = (original.float() + 1) / 2, (rebuilt.float() + 1) / 2
    side = min(x.shape[-2:])
    return {
        "psnr": psnr(x, y),
        "ssim": ssim(x, y) if side > 2 * SSIM_RADIUS else None,
        "mse": mse_sum(x, y),
        "lpips": lpips(original, rebuilt) if lpips and side >= SMALLEST_SIDE else None,
    }
