"""Drawn pairs with known answers: clips, shots and pairings at random, their rendering, and its measures."""
