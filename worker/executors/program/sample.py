"""The sample structure: prints its arguments word by word, and returns them as its output.

`WORDS_PER_SECOND` sets its pace; without it, there is no pause.
"""

import os
import sys
import time

from worker.executors.program.finish import finish_or_exit


def main() -> None:
    words = " ".join(sys.argv[1:]).split() or ["Nothing", "was", "asked."]
    pace = float(os.environ.get("WORDS_PER_SECOND", "0"))
    begun = time.monotonic()
    for number, word in enumerate(words, 1):
        print(word, flush=True)  # noqa: T201  # the log is its purpose
        if pace > 0:
            time.sleep(max(0.0, begun + number / pace - time.monotonic()))
    finish_or_exit(" ".join(words))


if __name__ == "__main__":
    main()
