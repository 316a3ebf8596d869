"""Named tensors and the bundles they live in: manifest, verify, load, LoRA, and the bundles made by code."""
