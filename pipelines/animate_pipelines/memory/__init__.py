"""What lies where: on the device, on the host, in fewer bits."""
