"""Person masks from SAM 2's video tracker, prompted by the body's joints.

The tracker is transformers' `Sam2VideoModel`. Stretches of frames, prompted frames and joints are the official
preprocessing's; holes of under nine pixels are not filled here, because the masks are dilated anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from animate_pipelines.perception.keypoints import body_20

_STRETCH = 400  # frames tracked at once
_PROMPTS = 4  # prompted frames of a stretch
_JOINTS = [0, 1, 2, 5, 8, 11, 10, 13]  # of body-20: nose, neck, shoulders, hips, ankles
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PERSON = 1


class Sam2Masks:
    """Tracks the person through the clip."""

    name = "sam2"

    def __init__(self, model: Sam2VideoModel) -> None:
        self._model = model
        self._side = int(model.config.image_size)

    @torch.no_grad()
    def person_masks(self, frames: Iterable[np.ndarray], poses: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one `h w` mask of 0 and 1 a frame.

        frames: `h w 3`.
        poses: `t 133 3`, fractions of the frame.
        """
        source = iter(frames)
        for start in range(0, len(poses), _STRETCH):
            stretch = list(islice(source, _STRETCH))
            yield from self._track(stretch, poses[start : start + len(stretch)])

    def _track(self, frames: Sequence[np.ndarray], poses: np.ndarray) -> Iterator[np.ndarray]:
        height, width = frames[0].shape[:2]
        session = Sam2VideoInferenceSession(
            video=torch.stack([self._pixels(frame) for frame in frames]),
            video_height=height,
            video_width=width,
            inference_device=self._model.device,
            dtype=self._model.dtype,
        )
        for index in prompted_frames(len(frames)):
            self._prompt(session, index, poses[index], width, height)
        for output in self._model.propagate_in_video_iterator(session, start_frame_idx=0):
            logits = F.interpolate(output.pred_masks.float(), (height, width), mode="bilinear", align_corners=False)
            yield (logits[0, 0] > 0).to(torch.uint8).cpu().numpy()

    def _prompt(
        self, session: Sam2VideoInferenceSession, index: int, pose: np.ndarray, width: int, height: int
    ) -> None:
        """Click on the joints in frame `index`, at whole pixels of the frame."""
        clicks = (body_20(pose)[_JOINTS, :2] * [width, height]).astype(np.int32)
        points = torch.tensor(clicks, dtype=torch.float32) / torch.tensor([width, height]) * self._side
        person = session.obj_id_to_idx(_PERSON)
        labels = torch.ones(1, 1, len(_JOINTS), dtype=torch.int32)
        session.add_point_inputs(person, index, {"point_coords": points[None, None], "point_labels": labels})
        session.obj_with_new_inputs = [_PERSON]
        self._model(session, frame_idx=index)

    def _pixels(self, frame: np.ndarray) -> torch.Tensor:
        squashed = np.asarray(Image.fromarray(frame).resize((self._side, self._side)), np.float32) / 255
        normalised = (squashed - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        return torch.from_numpy(normalised).permute(2, 0, 1)


def prompted_frames(num_frames: int) -> list[int]:
    """Return the frames of a stretch that are clicked on.

    One every quarter, which may come to five; only one in very short stretches.
    """
    prompts = _PROMPTS if num_frames > _PROMPTS else 1
    return list(range(0, num_frames, num_frames // prompts))
