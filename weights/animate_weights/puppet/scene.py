"""One to three puppets in one place, who cross, turn away, leave and come back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.character import Character
from animate_weights.puppet.draw import Frame, draw_on
from animate_weights.puppet.performance import Performance


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A puppet with its way through the picture.

    times, places: x positions (parts of the width) at given times, eased between.
    """

    character: Character
    performance: Performance
    zoom: float
    times: tuple[float, ...]
    places: tuple[float, ...]

    def place_at(self, time_s: float) -> float:
        return float(np.interp(time_s, self.times, self.places))

    def camera_at(self, time_s: float) -> Camera:
        return replace(Camera.framing(self.zoom), x=self.place_at(time_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Actors from the farthest to the nearest, before a backdrop."""

    actors: tuple[Actor, ...]
    backdrop: Backdrop

    @classmethod
    def random(cls, rng: np.random.Generator, people: int, duration_s: float) -> "Scene":
        """Draw a scene. Of two or more the first two cross in the middle; a third leaves the picture and comes back."""
        zooms = sorted(rng.uniform(0.6, 0.85, size=people))
        ways = [(0.22, 0.22, 0.78, 0.78), (0.78, 0.78, 0.22, 0.22), (0.5, 1.4, 1.4, 0.5)]
        if people == 1:
            ways = [(0.5, 0.35, 0.65, 0.5)]
        times = tuple(share * duration_s for share in (0.0, 0.25, 0.75, 1.0))
        actors = tuple(
            Actor(
                character=Character.random(rng),
                performance=Performance.random(rng, duration_s, turns=True),
                zoom=float(zoom),
                times=times,
                places=way,
            )
            for zoom, way in zip(zooms, ways, strict=False)
        )
        return cls(actors=actors, backdrop=Backdrop.random(rng))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFrame:
    """A picture and each actor's own truth; masks show only what nobody nearer hides."""

    rgb: np.ndarray
    actors: tuple[Frame, ...]


def draw_scene(scene: Scene, time_s: float, size: tuple[int, int]) -> SceneFrame:
    """Draw a scene at a moment; `size` is (width, height)."""
    width, height = size
    scale = Canvas.scale_for(width, height)
    canvas = Canvas(scene.backdrop.paint(width * scale, height * scale), scale)
    keypoints: list[np.ndarray] = []
    covers: list[np.ndarray] = []
    for actor in scene.actors:
        canvas.mask[:] = 0
        pose = actor.performance.pose_at(time_s)
        keypoints.append(draw_on(canvas, actor.character, pose, size, actor.camera_at(time_s)))
        covers.append(canvas.finish()[1])
    rgb = canvas.finish()[0]
    frames = (
        Frame(rgb=rgb, keypoints=points, mask=mask) for points, mask in zip(keypoints, uncovered(covers), strict=True)
    )
    return SceneFrame(rgb=rgb, actors=tuple(frames))


def uncovered(covers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the part of each mask that no nearer one covers.

    covers: masks `h w` (0..255) from the farthest to the nearest.
    """
    seen, nearer = [], np.zeros((), np.uint8)
    for cover in reversed(covers):
        seen.append(np.minimum(cover, 255 - nearer))
        nearer = np.maximum(nearer, cover)
    return seen[::-1]
