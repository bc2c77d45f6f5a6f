"""ONNX models in and out. The only place that imports onnx; the daemon never loads it."""
