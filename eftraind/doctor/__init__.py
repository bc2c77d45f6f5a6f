"""`eftraind doctor` and `support-bundle`: what a machine offers the daemon, and what it does not.

Owns looking and telling. It changes nothing but one small file in the state directory, with which
it measures the disk and which it removes again.
"""
