"""The plain numpy definition of every layer."""
