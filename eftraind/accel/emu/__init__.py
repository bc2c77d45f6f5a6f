"""An emulated board: a `pynq.Device` in this process whose programmable logic is the csim kernel.

A development tool: it shows whether the board device drives pynq, registers, caches and interrupts
as a board needs it. It has no notion of time and proves nothing about hardware.
"""
