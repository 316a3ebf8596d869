"""Commands that measure: wall time by stage, operators, quality."""
