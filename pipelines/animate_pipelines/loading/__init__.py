"""From a bundle's files to networks that fit the device."""
