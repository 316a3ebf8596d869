"""How a render tells where it is, and what its parts took."""
