"""What survives a power cut: the journal of samples, its committer, and checkpoints of weights."""
