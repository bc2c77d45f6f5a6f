"""Builds the C++ SDK's programs with cmake and talks to them by lines."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "cpp"
SANITIZED = {  # a finding ends the program, so that the test which drove it fails
    "ASAN_OPTIONS": "detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    # A receive buffer of libzmq 4.3.4 was left over, once in some runs of the hostile daemon, by a
    # socket closed while messages arrived. Memory that the SDK allocates itself is still watched.
    "LSAN_OPTIONS": f"suppressions={Path(__file__).with_name('libzmq.supp')}:print_suppressions=0",
}


def missing():
    """What this machine lacks to build the SDK, as one line; empty if nothing."""
    lacks = [tool for tool in ("cmake", "make", "g++") if not shutil.which(tool)]
    if "g++" not in lacks:
        probe = ["g++", "-x", "c++", "-", "-lzmq", "-o", os.devnull]
        source = "#include <zmq.h>\nint main() { return zmq_errno(); }\n"
        if subprocess.run(probe, input=source, text=True, capture_output=True).returncode:
            lacks.append("libzmq3-dev")
    return f"the C++ SDK needs {', '.join(lacks)}" if lacks else ""


def run(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, cwd=cwd)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def cmake(source, build, *options, targets=()):
    """Configure and build `source` in `build`; the compiler's words are the failure's."""
    run("cmake", "-S", str(source), "-B", str(build), "-G", "Unix Makefiles", *options)
    run("cmake", "--build", str(build), "-j2", *(("--target", *targets) if targets else ()))


class Driver:
    """A program that answers each line with one line."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **SANITIZED},
        )

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def send(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")

    def read(self):
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait(20)}; its words are on stderr"
        return line.rstrip("\n")

    def close(self):
        """Ask it to end; a leak or a late finding of a sanitizer shows in its status."""
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        assert status == 0, f"the program ended with {status}; its words are on stderr"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            self.close()
        except AssertionError:
            if kind is None:
                raise
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


def hexed(data):
    return bytes(data).hex() or "-"
