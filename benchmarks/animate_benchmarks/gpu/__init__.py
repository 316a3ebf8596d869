"""Benchmarks on one GPU at the real model's sizes; `benchmarks/gpu_suite.sh` runs all of them."""
