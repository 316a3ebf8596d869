"""A pair for the demo: one puppet's portrait, and another puppet's film with a voice that follows its mouth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.character import Character
from animate_weights.puppet.draw import draw
from animate_weights.puppet.performance import Performance
from animate_weights.puppet.pose import Pose

FPS = 20
SAMPLE_RATE = 16_000
REFERENCE_POSE = Pose(left_shoulder=0.35, right_shoulder=0.35, left_spread=0.9, right_spread=0.9)
_PITCH_HZ = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPair:
    """The two inputs of a render, before they are written to files.

    reference: `h w 3` uint8.
    driving: yields `num_frames` frames `h w 3` uint8.
    num_frames, fps: length and rate of the film.
    audio: mono fp32 in -1..1, at `sample_rate`.
    """

    reference: np.ndarray
    driving: Iterator[np.ndarray]
    num_frames: int
    fps: int
    audio: np.ndarray
    sample_rate: int


def demo_pair(seed: int, *, size: tuple[int, int] = (384, 384), num_frames: int = 49) -> DemoPair:
    """Draw two puppets, a performance and two places, all from the seed.

    seed: the same seed gives the same pair.
    size: (width, height) of both pictures.
    num_frames: length of the film.
    """
    rng = np.random.default_rng([seed, 33])
    hero, driver = Character.random(rng), Character.random(rng)
    here, there = Backdrop.random(rng), Backdrop.random(rng)
    performance = Performance.random(rng, num_frames / FPS)
    camera = Camera.framing(rng.uniform(0.8, 1.1))
    reference = draw(hero, REFERENCE_POSE, size, camera=camera, backdrop=here).rgb
    poses = performance.poses(num_frames, FPS)
    filmed = camera.drifting(rng, 0.02)
    frames = (
        draw(driver, pose, size, camera=filmed, backdrop=there, time_s=index / FPS).rgb
        for index, pose in enumerate(poses)
    )
    voice = voice_of(poses)
    return DemoPair(
        reference=reference, driving=frames, num_frames=num_frames, fps=FPS, audio=voice, sample_rate=SAMPLE_RATE
    )


def voice_of(poses: list[Pose]) -> np.ndarray:
    """Return a hum that is as loud as the mouth is open, as long as the poses at `FPS`."""
    times = np.arange(round(len(poses) * SAMPLE_RATE / FPS)) / SAMPLE_RATE
    loudness = np.interp(times, np.arange(len(poses)) / FPS, [pose.mouth for pose in poses])
    tone = np.sin(2 * np.pi * _PITCH_HZ * times) + 0.4 * np.sin(4 * np.pi * _PITCH_HZ * times)
    return (0.3 * loudness * tone).astype(np.float32)
