"""A smooth random performance: key poses for the body and, independent of them, for the expression."""

from dataclasses import dataclass, replace

import numpy as np

from animate_weights.puppet.pose import EXPRESSION, FIELDS, Pose

ARMS = (  # shoulder, elbow
    (0.15, 0.2),
    (1.5, 0.1),
    (2.7, 0.1),
    (1.2, 1.6),
    (0.75, -1.5),
    (0.5, 2.0),
    (2.1, 0.8),
)
STEERING_WORDS = ("smile", "close eyes", "open mouth", "raise both hands at the end")
RAISED = {"left_shoulder": 2.85, "left_elbow": 0.1, "right_shoulder": 2.85, "right_elbow": 0.1}
RAISE_FROM, RAISE_FULL = 0.4, 0.75  # fractions of the clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Key poses over time in seconds. `pose_at` eases between them, and holds before the first and after the last."""

    body_times: np.ndarray  # k
    body_keys: np.ndarray  # k fields
    face_times: np.ndarray
    face_keys: np.ndarray

    @classmethod
    def random(
        cls, rng: np.random.Generator, duration_s: float = 2.0, *, liveliness: float = 1.0, turns: bool = False
    ) -> "Performance":
        """Draw a performance.

        duration_s: seconds that the keys cover.
        liveliness: how often arms are raised and how far the puppet moves; 1 is usual.
        turns: whether the puppet turns its back now and then.
        """
        body_times = _key_times(rng, duration_s, 0.45, 0.85)
        face_times = _key_times(rng, duration_s, 0.25, 0.6)
        body = np.stack([_body_key(rng, liveliness, turns).vector() for _ in body_times])
        face = np.stack([_face_key(rng).vector() for _ in face_times])
        return cls(body_times=body_times, body_keys=body, face_times=face_times, face_keys=face)

    def pose_at(self, time_s: float) -> Pose:
        vector = _ease(self.body_times, self.body_keys, time_s)
        face = _ease(self.face_times, self.face_keys, time_s)
        columns = [FIELDS.index(name) for name in EXPRESSION]
        vector[columns] = face[columns]
        return Pose.from_vector(vector)

    def poses(self, num_frames: int, fps: float, start_s: float = 0.0) -> list[Pose]:
        return [self.pose_at(start_s + index / fps) for index in range(num_frames)]


def steer(poses: list[Pose], words: tuple[str, ...]) -> list[Pose]:
    """Return the poses of a prompt with these words; each word overrides what the driver does."""
    return [_steer_one(pose, words, index / max(len(poses) - 1, 1)) for index, pose in enumerate(poses)]


def _steer_one(pose: Pose, words: tuple[str, ...], progress: float) -> Pose:
    if unknown := set(words) - set(STEERING_WORDS):
        raise ValueError(f"not steering words: {sorted(unknown)}; known are {STEERING_WORDS}")
    if "smile" in words:
        pose = replace(pose, smile=1.0, mouth=0.0)
    if "open mouth" in words:
        pose = replace(pose, mouth=1.0, smile=0.0)
    if "close eyes" in words:
        pose = replace(pose, eyes=0.0)
    if "raise both hands at the end" in words:
        share = _smooth(np.clip((progress - RAISE_FROM) / (RAISE_FULL - RAISE_FROM), 0.0, 1.0))
        raised = {name: getattr(pose, name) * (1 - share) + angle * share for name, angle in RAISED.items()}
        pose = replace(pose, **raised)
    return pose


def _smooth(share: float) -> float:
    return float(share * share * (3 - 2 * share))


def _ease(times: np.ndarray, keys: np.ndarray, time_s: float) -> np.ndarray:
    if time_s <= times[0]:
        return keys[0].copy()
    if time_s >= times[-1]:
        return keys[-1].copy()
    after = int(np.searchsorted(times, time_s, side="right"))
    share = _smooth((time_s - times[after - 1]) / (times[after] - times[after - 1]))
    return keys[after - 1] * (1 - share) + keys[after] * share


def _key_times(rng: np.random.Generator, duration_s: float, shortest: float, longest: float) -> np.ndarray:
    times = [-rng.uniform(0, shortest)]
    while times[-1] < duration_s:
        times.append(times[-1] + rng.uniform(shortest, longest))
    return np.array(times)


def _arm(rng: np.random.Generator, liveliness: float) -> tuple[float, float]:
    shoulder, elbow = ARMS[rng.integers(len(ARMS))] if rng.random() < liveliness else ARMS[0]
    return shoulder + rng.normal(0, 0.15), elbow + rng.normal(0, 0.15)


def _body_key(rng: np.random.Generator, liveliness: float, turns: bool) -> Pose:
    left_shoulder, left_elbow = _arm(rng, liveliness)
    right_shoulder, right_elbow = _arm(rng, liveliness)
    crouch = rng.uniform(0, 0.5) if rng.random() < 0.3 else 0.0
    step = rng.uniform(0, 0.35, size=2)
    yaw = rng.normal(0, 0.25)
    if turns and rng.random() < 0.35:
        yaw += np.pi
    return Pose(
        x=rng.uniform(-0.08, 0.08) * liveliness,
        y=-max(rng.normal(-0.05, 0.05), 0.0),
        yaw=yaw,
        lean=rng.normal(0, 0.1),
        tilt=rng.normal(0, 0.12),
        left_shoulder=left_shoulder,
        left_elbow=left_elbow,
        left_wrist=rng.normal(0, 0.25),
        left_spread=rng.random(),
        right_shoulder=right_shoulder,
        right_elbow=right_elbow,
        right_wrist=rng.normal(0, 0.25),
        right_spread=rng.random(),
        left_hip=float(step[0] + crouch),
        left_knee=-2.0 * crouch * rng.uniform(0.8, 1.0),
        right_hip=float(step[1] + crouch),
        right_knee=-2.0 * crouch * rng.uniform(0.8, 1.0),
    )


def _face_key(rng: np.random.Generator) -> Pose:
    mouth, smile = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))[rng.choice(3, p=(0.35, 0.45, 0.2))]
    return Pose(mouth=mouth, smile=smile, eyes=float(rng.random() < 0.65), brow=rng.random())
