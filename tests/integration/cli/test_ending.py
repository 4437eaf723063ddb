"""The end of a command that leaves a thread behind, as one does whose server has not answered."""

import subprocess
import sys
import textwrap

import pytest

LEAVING = """
    import sys, threading
    from cli import asking, main

    def command(**_):
        print("said")
        assert not asking.answers_within(0.1, threading.Event().wait)
        import atexit
        atexit.register(print, "the interpreter has ended")
        {ends}

    main.app = command
    main.main()
"""


@pytest.mark.parametrize(
    ("ends", "code", "words"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("raise OSError('away')", 1, "away"),
    ],
)
def test_a_command_that_leaves_a_thread_ends_at_once_with_what_it_said(ends, code, words):
    program = textwrap.dedent(LEAVING).replace("{ends}", ends)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "said\n"), done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == bool(words)
