"""The daemon's processes."""
