"""Places the weights: on the device, on the host, in fewer bits."""
