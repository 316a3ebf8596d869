"""From a reference image and a driving video to an animated MP4."""
