"""Devices: each runs the same programs on the same memory image."""
