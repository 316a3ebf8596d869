"""What is seen in pictures: people, poses, faces, hands and masks. Knows no diffusion model."""
