"""Whether an image and a driving video make a good pair: found out in seconds, before minutes of GPU time are spent."""
