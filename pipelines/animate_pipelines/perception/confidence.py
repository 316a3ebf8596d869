"""Every threshold on the networks' confidence scales, each with its reason.

Confidences of keypoints are peaks of heatmaps, about 0 to 1; joints beyond the edge of a picture are guessed near it
with 0.1 to 0.45. A detector's score is the confidence of a box. Unless a line says otherwise the limits were settled
on drawn pairs, whose truth is known, with the networks of the `puppet` bundle; on photographs they are untried.
"""

from __future__ import annotations

# --- the detector's boxes
BOX_POSSIBLE = 0.05  # the official code's: below, a box is dropped at once
BOX_CERTAIN = 0.3  # from here on a box counts without a doubt; below, only where no box of the frame is better

# --- single joints
JOINT_FOUND = 0.3  # enough to compare postures, to measure limbs by and to grow a mask box around (the official 0.3)
JOINT_COMPARED = 0.4  # for angles and proportions a misread joint costs more than a missing one
JOINT_SEEN = 0.5  # the model's skeleton is drawn from here on (the official code's), so this is the least it can follow
JOINT_SURE = 0.6  # ankles that count although the hips are hidden

# --- means over a part of the body
BODY_SEEN = 0.3  # of the 17 joints: a box in which there is less holds nobody (flat pictures give 0.04 at most)
FACE_SEEN = 0.4  # of the 68 face points; backs of heads stay below
HAND_SEEN = 0.4  # of a hand's 21 points
PART_SEEN = 0.5  # of any part that a report names: as surely as its joints would be drawn
PART_HIDDEN, PART_IN_VIEW = (
    0.53,
    0.58,
)  # of both arms, or knees and ankles: below, something is in front; above, nothing

# --- somebody else in the same picture, not a misread box: heads of drawn crowds separate here
OTHER_FACE, OTHER_NOSE, OTHER_SHOULDERS = 0.78, 0.85, 0.6
