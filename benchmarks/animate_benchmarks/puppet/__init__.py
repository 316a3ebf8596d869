"""Trains the bundled puppet model, one command a stage, each resumable; see the model card beside the weights."""
