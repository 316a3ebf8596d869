"""Stages 2 and 3: trains the person detector and the whole-body pose network.

python -m animate_benchmarks.training.train_readers --network pose --out /tmp/puppet
python -m animate_benchmarks.training.train_readers --network detector --out /tmp/puppet
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from animate_benchmarks.training.loop import stage_parser, train
from animate_benchmarks.training.networks import GRID, NUM_KEYPOINTS, SHRINK, WIDENING, Detector, PoseNetwork
from animate_benchmarks.training.onnx_files import read_detector, read_pose_network
from animate_benchmarks.training.people import empty_scene, random_crowd
from animate_benchmarks.training.prefetch import Prefetch
from animate_pipelines.perception.pose import crop_geometry, crop_input
from animate_weights.manifest import DETECTOR_PATH, POSE_PATH

SIDES_PX = (96, 128, 192, 320)
MAP_WIDTH, MAP_HEIGHT = 48, 64
SIGMA_CELLS = 1.5
BODY_KEYPOINTS, BODY_WEIGHT = 23, 8.0
ARMS, ARM_WEIGHT = slice(7, 11), 20.0  # elbows and wrists, which move most
# For each keypoint the one on the other side of the body; those of the face are never mistaken for one another.
OTHER_SIDE = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 20, 21, 22, 17, 18, 19]
OTHER_SIDE += [*range(23, 91), *range(112, 133), *range(91, 112)]
SHARPNESS, PLACE_WEIGHT = 10.0, 0.5
OFF_CENTRE_WEIGHT, SCORE_WEIGHT = 0.1, 3.0
SHOULDERS = [5, 6]
EMPTY_SHARE, TURNED_SHARE = 0.05, 0.4
DETECTOR_ERROR = 0.1  # of a box's sides, at most: how far its edges are off
# The pose network's peaks are 0.67 high on average where a joint is seen; the skeleton hides joints under 0.5.
PEAK_SCALE = 1.4
# On backs of heads the face's peaks are up to 0.50 high on average, on faces 0.70 and more; for the pipeline 0.4 is
# seen.
FACE, FACE_GAIN = slice(23, 91), 2.05
FACE_HEIGHT = 1.11  # stays; of peaks already scaled
POSE_BATCH, DETECTOR_BATCH = 16, 24


def pose_example(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an input `3 256 192`, through the pipeline's own crop, and its keypoints `133 3` in heatmap cells."""
    side = int(rng.choice(SIDES_PX, p=(0.4, 0.15, 0.35, 0.1)))
    size = (side, side) if rng.random() < 0.7 else (round(side * rng.uniform(0.6, 1.6)), side)
    crowd = random_crowd(rng, size, turned=TURNED_SHARE)
    who = int(rng.integers(len(crowd.boxes)))
    sides = crowd.boxes[who, 2:] - crowd.boxes[who, :2]
    errors = rng.normal(0, rng.uniform(0.01, DETECTOR_ERROR), 4) * np.tile(sides, 2)
    margin = rng.uniform(0, WIDENING) * sides[0] / 2
    box = np.append(crowd.boxes[who] + errors + [-margin, 0, margin, 0], 1.0)
    if rng.random() < 0.15:
        box = np.array([0, 0, *size, 1.0])
    centre, scale = crop_geometry(box, *size)
    pixels = crop_input(crowd.rgb[..., ::-1], centre, scale)
    cells = (crowd.keypoints[who, :, :2] - centre + scale * 100) / (scale * 200) * [MAP_WIDTH, MAP_HEIGHT]
    return pixels, np.concatenate([cells, crowd.keypoints[who, :, 2:]], axis=1)


def heatmaps_of(points: torch.Tensor) -> torch.Tensor:
    """Draw Gaussians `b 133 64 48` at the points `b 133 3` (x, y in cells, height)."""
    columns, rows = torch.arange(MAP_WIDTH, device=points.device), torch.arange(MAP_HEIGHT, device=points.device)
    across = torch.exp(-((columns - points[..., :1]) ** 2) / (2 * SIGMA_CELLS**2))
    along = torch.exp(-((rows - points[..., 1:2]) ** 2) / (2 * SIGMA_CELLS**2))
    return points[..., 2, None, None] * along[..., :, None] * across[..., None, :]


def pose_loss(network: nn.Module, pixels: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return the weighted squared error of the heatmaps plus the cross-entropy of where each is highest.

    The weights balance cells: those without a keypoint outnumber the others, and faces outnumber bodies. Where the
    other side's joint is, and for the body any joint, counts as much as where the joint itself is: if it counted
    little, a left elbow would reach half a peak at the right one for a chance of 3 % that it is there, which is more
    than a hanging arm's elbow reaches. The cross-entropy is needed beside it: half a peak at each of two elbows is a
    small squared error, but a coin's toss for the reader of the highest cell.
    """
    targets = heatmaps_of(points)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        heatmaps = network(pixels).float()
    weight = torch.ones(NUM_KEYPOINTS, 1, 1, device=pixels.device)
    weight[:BODY_KEYPOINTS] = BODY_WEIGHT
    weight[ARMS] = ARM_WEIGHT
    near = torch.maximum(targets, targets[:, OTHER_SIDE])
    near[:, :BODY_KEYPOINTS] = targets[:, :BODY_KEYPOINTS].amax(dim=1, keepdim=True)
    squares = (weight * (1 + 30 * near) * (heatmaps - targets).square()).mean() * 100
    places = (SHARPNESS * heatmaps).flatten(2).log_softmax(dim=-1)
    surprise = -(targets.flatten(2) * places).sum(dim=-1) / targets.flatten(2).sum(dim=-1).clamp_min(1.0)
    return squares + PLACE_WEIGHT * (weight.flatten() * surprise).mean()


def detector_example(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw an input `3 160 160`, scores `40 40` and distances `4 40 40` (log1p of cells, NaN where nobody is).

    A score is highest at the base of a person's neck, which is found more surely than the middle of a box that depends
    on stretched arms. The box is learned in every cell in which the person is visible.
    """
    side = int(rng.choice(SIDES_PX[:3]))
    size = (side, side) if rng.random() < 0.35 else (round(side * rng.uniform(0.5, 2.4)), side)
    crowd = empty_scene(rng, size) if rng.random() < EMPTY_SHARE else random_crowd(rng, size, turned=TURNED_SHARE)
    seen = cv2.resize(cv2.resize(crowd.rgb, (640, 640)), (640 // SHRINK,) * 2, interpolation=cv2.INTER_AREA)
    scores, distances = np.zeros((GRID, GRID)), np.full((4, GRID, GRID), np.nan)
    columns, rows = np.meshgrid(np.arange(GRID) + 0.5, np.arange(GRID) + 0.5)
    for box, mask, points in zip(crowd.boxes, crowd.masks, crowd.keypoints, strict=True):
        x1, y1, x2, y2 = box / np.tile(size, 2) * GRID
        if x2 - x1 < 1 or y2 - y1 < 1:
            continue
        x, y = np.clip(points[SHOULDERS, :2].mean(axis=0) / size * GRID, (x1, y1), (x2, y2))
        bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (0.7 + 0.04 * (y2 - y1)) ** 2)
        central = bump > np.maximum(scores, 0.3)
        part = cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA) > 127
        edges = np.log1p(np.maximum(np.stack([columns - x1, rows - y1, x2 - columns, y2 - rows]), 0))
        own = central | (part & (scores <= 0.3))
        distances[:, own] = edges[:, own]
        scores = np.maximum(scores, bump)
    return (seen.astype(np.float32) / 255).transpose(2, 0, 1), scores, distances


def detector_loss(
    network: nn.Module, pixels: torch.Tensor, scores: torch.Tensor, distances: torch.Tensor
) -> torch.Tensor:
    with torch.autocast(pixels.device.type, torch.bfloat16):
        cells = network(pixels).float()
    weight = (~torch.isnan(distances)) * (OFF_CENTRE_WEIGHT + scores[:, None])
    scoring = F.binary_cross_entropy_with_logits(cells[:, 0], scores, reduction="none")
    placing = F.smooth_l1_loss(cells[:, 1:], torch.nan_to_num(distances), beta=0.05, reduction="none")
    return (scoring * (1 + 4 * scores)).mean() * SCORE_WEIGHT + (placing * weight).sum() / weight.sum().clamp_min(1)


def batch_of(
    example: Callable[[np.random.Generator], tuple[np.ndarray, ...]], rng: np.random.Generator, count: int
) -> list[torch.Tensor]:
    """Draw `count` examples, stacked part by part; pictures channels-last."""
    parts = zip(*(example(rng) for _ in range(count)), strict=True)
    pixels, *truth = (torch.from_numpy(np.stack(part)).float() for part in parts)
    return [pixels.contiguous(memory_format=torch.channels_last), *truth]


def load_bundle(network: nn.Module, bundle: Path) -> None:
    """Give a network the weights of a bundle."""
    if isinstance(network, PoseNetwork):
        read_pose_network(network, bundle / POSE_PATH)
        from_confidences(network.head)
    elif isinstance(network, Detector):
        read_detector(network, bundle / DETECTOR_PATH)


@torch.no_grad()
def to_confidences(head: nn.Conv2d) -> None:
    """Let a trained pose network's last layer return how surely a joint is visible."""
    assert head.bias is not None
    head.weight.mul_(PEAK_SCALE)
    head.bias.mul_(PEAK_SCALE)
    head.weight[FACE] *= FACE_GAIN
    head.bias[FACE] = head.bias[FACE] * FACE_GAIN + FACE_HEIGHT * (1 - FACE_GAIN)


@torch.no_grad()
def from_confidences(head: nn.Conv2d) -> None:
    """Undo `to_confidences`, to go on with training."""
    assert head.bias is not None
    head.bias[FACE] = (head.bias[FACE] - FACE_HEIGHT * (1 - FACE_GAIN)) / FACE_GAIN
    head.weight[FACE] /= FACE_GAIN
    head.weight.div_(PEAK_SCALE)
    head.bias.div_(PEAK_SCALE)


@torch.no_grad()
def settle(network: nn.Module, pixels: torch.Tensor) -> None:
    """Give the norms of a network read from a file the statistics of `pixels`, without changing its results."""

    def take(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        norm.bias.add_(norm.weight * mean)
        norm.weight.mul_((variance + norm.eps).sqrt())
        norm.running_mean, norm.running_var = mean, variance

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(take) for norm in norms]
    network.eval()(pixels)
    network.train()
    for hook in hooks:
        hook.remove()


def main() -> None:
    parser = stage_parser(__doc__, steps=1500)
    parser.add_argument("--network", choices=("pose", "detector"), required=True)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw ahead")
    parser.add_argument("--start", type=Path, help="a bundle folder")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    network, loss, example, count = (
        (PoseNetwork(), pose_loss, pose_example, POSE_BATCH)
        if arguments.network == "pose"
        else (Detector(), detector_loss, detector_example, DETECTOR_BATCH)
    )
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if arguments.start is not None:
        load_bundle(network, arguments.start)
        settle(network, batch_of(example, np.random.default_rng(0), count)[0])
    network = network.to(arguments.device)
    compiled = torch.compile(loss)
    batches = Prefetch(partial(batch_of, example, count=count), workers=arguments.workers)

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        return compiled(network, *(part.to(arguments.device) for part in batches.batch(step)))

    folder = arguments.out / arguments.network
    with batches:
        train(network, loss_of, folder, steps=arguments.steps, learning_rate=2e-3, minutes=arguments.minutes)


if __name__ == "__main__":
    main()
