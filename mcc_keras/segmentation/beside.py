"""Reading ahead and writing behind in threads, beside the work of the main thread, with few things in memory.

At most `AHEAD` results of reading wait while one is worked on, and one waits while another is written.
"""

import collections
import contextlib
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

AHEAD = 2


@contextlib.contextmanager
def read_ahead(function, items, *, ahead=AHEAD):
    """Yield an iterator of (item, future of `function(item)`) in the order of the items.

    What has not begun is dropped where the block ends early.

    Example:

    >>> with read_ahead(str, [1, 2, 3]) as found:
    ...     [future.result() for _, future in found]
    ['1', '2', '3']
    """
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="read")
    try:
        yield _in_order(pool, function, items, ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool, function, items, ahead):
    waiting = collections.deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


class WriteBehind:
    """Calls functions one after another in a thread of its own; at the end of its block all have ended.

    Args:
        done: Called with (item, future) of each call that has ended, by the thread that hands them over.

    Example:

    >>> with WriteBehind(lambda item, future: print(item, future.result())) as writer:
    ...     writer.add("a", str.upper, "one")
    ...     writer.add("b", str.upper, "two")
    a ONE
    b TWO
    """

    def __init__(self, done):
        self.done, self.waiting = done, collections.deque()
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="write")

    def add(self, item, function, *args, **options):
        """Call a function later; while one runs and one waits, wait for the first."""
        while len(self.waiting) > 1 or (self.waiting and self.waiting[0][1].done()):
            self._settle()
        self.waiting.append((item, self.pool.submit(function, *args, **options)))

    def _settle(self):
        item, future = self.waiting.popleft()
        futures.wait([future])
        self.done(item, future)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.pool.shutdown(wait=True)  # also after an error: what was handed over is written whole
        while self.waiting and kind is None:
            self._settle()
