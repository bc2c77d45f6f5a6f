"""`eftraind top`: the running daemon on a terminal, live.

Needs nothing beyond Python's own curses, so that it works on a board as it is installed.
"""
