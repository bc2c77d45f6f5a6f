"""For all tests: SIGINT as a terminal gives it, and no deadline on generated cases.

A shell that starts the suite in the background leaves SIGINT ignored, which every child inherits;
tests that interrupt a process would wait for ever. Hypothesis' own deadline of 0.2 s a case times
the machine, not the code.
"""

import signal

from hypothesis import settings

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("eftraind", deadline=None)
settings.load_profile("eftraind")
