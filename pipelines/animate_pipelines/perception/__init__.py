"""People in pictures: boxes, poses, faces, hands and masks. Knows no diffusion model."""
