"""`RenderPlan`: the sizes, segments and steps of a render, settled before any network runs. Integers and names only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment, plan_segments
from animate_pipelines.media.resize import inner_box, render_size
from animate_pipelines.media.size import output_size
from animate_pipelines.request.params import RenderParams
from animate_pipelines.request.size import Size
from animate_weights.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPlan:
    """The sizes, segments and steps of a render.

    render_size: (width, height) that the model generates.
    output_size: (width, height) of the file.
    picture_box: (left, top, width, height) of the driving picture inside the render; around it is the black border of
        letter-boxing, which is cut off before scaling to the output size.
    """

    render_size: Size
    picture_box: tuple[int, int, int, int]
    output_size: Size
    segments: tuple[Segment, ...]
    recipe: Recipe

    def to_json(self, num_frames: int) -> dict[str, Any]:
        """Return the plan for a render of so many frames as JSON values, under the names of the result."""
        return {
            "num_frames": num_frames,
            "num_segments": len(self.segments),
            "num_steps": self.recipe.num_steps,
            "render_width": self.render_size[0],
            "render_height": self.render_size[1],
            "width": self.output_size[0],
            "height": self.output_size[1],
        }

    @property
    def scale(self) -> float:
        """Return the number of output pixels for one rendered pixel, along a side."""
        return self.output_size[0] / self.picture_box[2]


def plan_render(
    manifest: Manifest,
    params: RenderParams,
    source_size: Size,
    num_frames: int,
    recipe_defaults: Mapping[str, Any] = MappingProxyType({}),
) -> RenderPlan:
    """Return the plan for `num_frames` frames of the aspect of `source_size`.

    recipe_defaults: see `settle_recipe`.
    Raises `InvalidField` for an area that leaves nothing of them.
    """
    output = params.output_size or output_size(params.resolution, *source_size)
    area = params.render_area or nearest_area(manifest, output)
    size = render_size(*source_size, area[0] * area[1])
    return RenderPlan(
        render_size=size,
        picture_box=inner_box(source_size, size),
        output_size=output,
        segments=tuple(plan_segments(num_frames, manifest.segment_frames, params.overlap)),
        recipe=settle_recipe(manifest, params, recipe_defaults),
    )


def settle_recipe(manifest: Manifest, params: RenderParams, defaults: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a job: by the request, then by the process, then by the bundle.

    defaults: fields of `Recipe` that this process takes where the request is silent; see `shortcuts`.
    """
    steps = (manifest.turbo_steps if params.turbo else None) or manifest.steps
    recipe = Recipe(
        name="turbo" if params.turbo else "full",
        num_steps=params.steps or steps,
        shift=params.shift or manifest.shift,
        few_steps=params.turbo,
        guidance_scale=params.guidance_scale,
    )
    recipe = replace(recipe, **defaults)
    return replace(recipe, solver="euler") if params.turbo else recipe


def plan_warnings(plan: RenderPlan, manifest: Manifest, params: RenderParams) -> Iterator[str]:
    """Yield warnings about the sizes, for people."""
    (width, height), (out_width, out_height), requested = plan.render_size, plan.output_size, params.render_area
    if plan.scale > 1.05:
        yield f"generated at {width}x{height} and scaled to {out_width}x{out_height}"
    if requested is not None and requested[0] * requested[1] not in [
        area[0] * area[1] for area in manifest.render_areas
    ]:
        yield f"the bundle is not made for an area of {requested}"


def nearest_area(manifest: Manifest, size: Size) -> Size:
    """Return the bundle's area that is nearest to `size`, as a ratio."""
    return min(manifest.render_areas, key=lambda area: abs(math.log(area[0] * area[1] / (size[0] * size[1]))))
