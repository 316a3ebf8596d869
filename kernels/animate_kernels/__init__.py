"""The operators of the render path and the backends that run them."""
