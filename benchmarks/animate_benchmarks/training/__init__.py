"""The training of the puppet bundle, one resumable command a stage (`README.md`); in neither wheel nor container."""
