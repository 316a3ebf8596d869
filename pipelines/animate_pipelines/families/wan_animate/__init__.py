"""Wan2.2-Animate: skeletons, face motion, background and masks as conditions."""
