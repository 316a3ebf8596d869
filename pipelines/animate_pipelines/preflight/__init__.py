"""Checks in seconds that an image and a driving video make a good pair, before minutes of GPU time are spent."""
