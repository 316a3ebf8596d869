"""The progress of a render, and the time of its parts."""
