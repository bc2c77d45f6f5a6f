"""FPGA boards through the pynq package, the only place that imports it.

Owns loading the overlay. It has never run on a board.
"""
