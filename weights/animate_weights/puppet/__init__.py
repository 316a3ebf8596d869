"""The puppet world: characters drawn by formula, so that their true keypoints, masks and animations are known."""

from animate_weights.puppet.character import Build, Character, Look
from animate_weights.puppet.demo import DemoPair, demo_pair
from animate_weights.puppet.draw import Frame, draw
from animate_weights.puppet.performance import Performance
from animate_weights.puppet.pose import Pose

__all__ = ["Build", "Character", "DemoPair", "Frame", "Look", "Performance", "Pose", "demo_pair", "draw"]
