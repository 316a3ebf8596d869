"""The preview of masks: the frames, masks and shares a render would have, and what the picture shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.perception.mask_preview import masks_used, preview_masks
from animate_pipelines.perception.masked_frames import MaskedFrame, MaskPreview
from animate_pipelines.perception.masks import KeypointBoxes, fit_mask
from animate_pipelines.perception.observation import Observation
from animate_pipelines.perception.observations import Observations
from animate_pipelines.sheets.mask_sheet import add_masks, draw_masks
from animate_weights.puppet import demo_pair
from animate_weights.puppet.files import write_pair

FRAMES, SIZE, RENDER = 20, (120, 68), (112, 64)
TINTED = np.array([255, 40, 120])


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivingFrames]:
    """Twenty frames a second, letter-boxed for replace mode."""
    folder = tmp_path_factory.mktemp("clip")
    _, video = write_pair(demo_pair(1, size=SIZE, num_frames=FRAMES), folder, sound=False)
    with Clip(write_mezzanine(video, folder / "m.mp4", probe_video(video, MediaLimits()), MediaLimits())) as clip:
        yield DrivingFrames(clip, "replace", RENDER)


def _seen(*places: tuple[float, float]) -> Observations:
    """At the second `at`, somebody whose joints lie in a square around `x` (a fraction of the picture)."""
    looks = []
    for x, _ in places:
        pose = np.zeros((133, 3))
        pose[:4] = [[x - 0.1, 0.4, 1], [x + 0.1, 0.4, 1], [x - 0.1, 0.6, 1], [x + 0.1, 0.6, 1]]
        looks.append(Observation(pose=pose, box=np.array([x - 0.1, 0.4, x + 0.1, 0.6]), people=1, sharpness=1.0))
    return Observations.of(looks, [at for _, at in places], SIZE)


def test_it_is_what_the_render_would_regenerate(frames: DrivingFrames) -> None:
    video = _seen((0.3, 0.0), (0.5, 0.5), (0.7, 0.9))
    preview = preview_masks(KeypointBoxes(), frames, video, "blocks", None)
    indices = [0, 10, 18]
    masks = list(KeypointBoxes().person_masks(frames.read(indices), frames.place_poses(video.poses)))
    assert (preview.source, preview.fit) == ("keypoint_box", "blocks")
    for shown, mask, picture in zip(preview.frames, masks, frames.read(indices), strict=True):
        np.testing.assert_array_equal(shown.picture, picture)
        np.testing.assert_array_equal(shown.person, mask)
        np.testing.assert_array_equal(shown.regenerated, fit_mask(mask, "blocks"))
    told = preview.to_json()["frames"]
    assert [frame["second"] for frame in told] == [0.0, 0.5, 0.9]
    assert [frame["regenerated"] for frame in told] == [round(float(fit_mask(m, "blocks").mean()), 3) for m in masks]


def test_the_frames_are_spread_over_time(frames: DrivingFrames) -> None:
    crowded = [(0.5, at) for at in (0.0, 0.05, 0.1, *np.arange(0.15, 0.95, 0.05))]
    preview = preview_masks(KeypointBoxes(), frames, _seen(*crowded), "box", None)
    seconds = [frame.second for frame in preview.frames]
    assert (len(seconds), seconds[0], round(seconds[-1], 2)) == (8, 0.0, 0.9)
    assert np.diff(seconds).min() > 0.09


def test_the_callers_masks_are_shown_where_there_are_any(frames: DrivingFrames) -> None:
    given = DrivingFrames(frames.clip, "replace", RENDER)  # any film serves: what is bright in it is the mask
    preview = preview_masks(KeypointBoxes(), frames, _seen((0.5, 0.0), (0.5, 0.5)), "tight", given)
    assert preview.source == "mask_video"
    for shown, picture in zip(preview.frames, frames.read([0, 10]), strict=True):
        np.testing.assert_array_equal(shown.person, picture.mean(axis=2) >= 128)


def test_of_a_render_the_masks_that_were_kept_are_shown(frames: DrivingFrames, tmp_path: Path) -> None:
    looked_at = [2, 4, 6, 11, 19]
    masks = np.random.default_rng(0).integers(0, 2, (FRAMES, *reversed(RENDER)), np.uint8)
    file = MaskFile(tmp_path / "masks.npy", RENDER[0])
    file.write(enumerate(masks), FRAMES, RENDER)
    used = masks_used(file, frames, looked_at, "tight", "sam2")
    assert (used.source, [frame.second for frame in used.frames]) == ("sam2", [0.1, 0.2, 0.3, 0.55, 0.95])
    for shown, index, picture in zip(used.frames, looked_at, frames.read(looked_at), strict=True):
        np.testing.assert_array_equal(shown.person, masks[index])
        np.testing.assert_array_equal(shown.picture, picture)


def _frame(*, empty: bool = False) -> MaskedFrame:
    """A grey picture, in its middle the person, and around that what is regenerated."""
    person, regenerated = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    if not empty:
        person[40:60, 40:60] = regenerated[20:80, 20:80] = 1
    return MaskedFrame(second=1.5, picture=np.full((100, 100, 3), 90, np.uint8), person=person, regenerated=regenerated)


def test_what_is_regenerated_is_tinted_and_the_person_outlined() -> None:
    preview = MaskPreview(source="sam2", fit="box", frames=(_frame(),))
    sheet = np.asarray(draw_masks(preview, 220))  # one cell of 200 px below two lines of 26
    cell = sheet[52:252, 10:210]
    np.testing.assert_array_equal(cell[[5, 190, 100], [100, 100, 190]], np.full((3, 3), 90))  # beside the mask
    tint = (np.full(3, 90) * 0.5 + TINTED * 0.5).astype(int)
    np.testing.assert_array_equal(cell[[60, 100, 100], [60, 100, 140]], np.tile(tint, (3, 1)))
    assert (np.abs(cell[100, 78:83].astype(int) - [255, 225, 0]).sum(axis=1) < 30).any()  # the person's left edge


@pytest.mark.parametrize("shown", [(), (_frame(empty=True),)], ids=["nobody", "no-mask"])
def test_that_there_is_nothing_to_replace_is_said_in_red(shown: tuple[MaskedFrame, ...]) -> None:
    empty = np.asarray(draw_masks(MaskPreview(source="sam2", fit="box", frames=shown), 220)).astype(int)
    found = np.asarray(draw_masks(MaskPreview(source="sam2", fit="box", frames=(_frame(),)), 220)).astype(int)
    red = [
        ((picture[..., 0] > 180) & (picture[..., 1] < 60) & (picture[..., 2] < 60)).sum() for picture in (empty, found)
    ]
    assert red[0] > 20
    assert red[1] == 0


def test_it_is_drawn_below_what_is_there(tmp_path: Path) -> None:
    picture = tmp_path / "sheet.png"
    Image.new("RGB", (640, 300), (1, 2, 3)).save(picture)
    preview = MaskPreview(source="sam2", fit="box", frames=(_frame(),))
    add_masks(preview, picture)
    both = np.asarray(Image.open(picture))
    assert (both[:300] == [1, 2, 3]).all()
    np.testing.assert_array_equal(both[300:], np.asarray(draw_masks(preview, 640)))
