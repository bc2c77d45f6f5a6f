"""The native kernels: C++ source, and the script that compiles it. Imports nothing."""
