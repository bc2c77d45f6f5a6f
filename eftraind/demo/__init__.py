"""The demo: a stranger's first look. Starts the real daemon and shows it learning a changed world.

Everything here talks to the daemon the way any user does: the command line, the SDK, a config
file. Nothing below the entry floor imports this package.
"""
