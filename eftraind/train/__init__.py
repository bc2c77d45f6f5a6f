"""Training offline, and sizing: what an ML engineer does before a robot is sent out."""
