"""From noise to pixels, segment by segment. Knows no tensor but latents."""
