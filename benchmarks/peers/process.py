"""A process that answers requests, one line of JSON each, so that TensorFlow and PyTorch never share one."""

import contextlib
import json
import resource
import subprocess
import sys


class Process:
    """Start a file of this folder with an interpreter, and ask it things."""

    def __init__(self, python, path):
        self.name = f"{python} {path}"
        self.process = subprocess.Popen(
            [python, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, command, **arguments):
        try:
            self.process.stdin.write(json.dumps([command, arguments]) + "\n")
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            sys.exit(f"{self.name} ended while it was asked to {command}; what it said is above")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def serve(*commands):
    """Answer requests until there are no more; what libraries print goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    commands = {command.__name__: command for command in (*commands, peak_kib)}
    for line in sys.stdin:
        command, arguments = json.loads(line)
        print(json.dumps(commands[command](**arguments)), file=answers, flush=True)


def peak_kib():
    """Largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
