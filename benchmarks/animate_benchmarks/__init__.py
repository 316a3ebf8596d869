"""Commands that measure wall time by stage, operators, and the quality of pictures."""
