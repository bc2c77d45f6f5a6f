"""What runs on a device: inference, training, gate."""
