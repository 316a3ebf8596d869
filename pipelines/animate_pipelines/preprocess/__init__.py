"""From driving frames to what the model is conditioned on: keypoints, skeletons, face crops, masks."""
