"""Families of checkpoints. Each turns a request into conditions, and conditions into velocities."""
