"""What a render will do, settled before any network runs: sizes, segments, steps. Integers and names only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from animate_pipelines.diffusion.segments import Segment, plan_segments
from animate_pipelines.media.resize import inner_box, render_size
from animate_pipelines.media.size import output_size
from animate_pipelines.request.params import RenderParams
from animate_weights.manifest import Manifest

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPlan:
    """render_size: what the model generates, (width, height). output_size: what the caller gets.

    picture_box: (left, top, width, height) of the driving picture inside the render; what lies around it is the black
        border of letter-boxing and is cut off before scaling to the output size.
    """

    render_size: Size
    picture_box: tuple[int, int, int, int]
    output_size: Size
    segments: tuple[Segment, ...]
    num_steps: int
    shift: float

    def to_json(self, num_frames: int) -> dict[str, Any]:
        """What a render of so many frames will do, under the names its result has."""
        return {
            "num_frames": num_frames,
            "num_segments": len(self.segments),
            "num_steps": self.num_steps,
            "render_width": self.render_size[0],
            "render_height": self.render_size[1],
            "width": self.output_size[0],
            "height": self.output_size[1],
        }

    @property
    def scale(self) -> float:
        """Output pixels for one rendered pixel, along a side."""
        return self.output_size[0] / self.picture_box[2]


def plan_render(manifest: Manifest, params: RenderParams, driving_size: Size, num_frames: int) -> RenderPlan:
    """The plan for a driving video of that size and length. `InvalidField` for an area that leaves nothing of it."""
    output = params.output_size or output_size(params.resolution, *driving_size)
    area = params.render_area or nearest_area(manifest, output)
    size = render_size(*driving_size, area[0] * area[1])
    default_steps = (manifest.turbo_steps if params.turbo else None) or manifest.steps
    return RenderPlan(
        render_size=size,
        picture_box=inner_box(driving_size, size),
        output_size=output,
        segments=tuple(plan_segments(num_frames, manifest.segment_frames, params.overlap)),
        num_steps=params.steps or default_steps,
        shift=params.shift or manifest.shift,
    )


def nearest_area(manifest: Manifest, size: Size) -> Size:
    """Of the areas the bundle is made for, the one nearest to `size`, as a ratio."""
    return min(manifest.render_areas, key=lambda area: abs(math.log(area[0] * area[1] / (size[0] * size[1]))))
