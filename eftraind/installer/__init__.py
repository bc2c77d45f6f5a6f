"""Putting the daemon on a machine as systemd services, and taking it off again.

Owns the units (`units/`, which `systemd/` in the source tree shows as they are installed) and the
list of files on the machine. It never touches what the daemon has learnt unless told to.
"""
