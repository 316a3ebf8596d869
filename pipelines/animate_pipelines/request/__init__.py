"""What is asked for: one table of fields, and the checks that follow from it. Standard library only."""
