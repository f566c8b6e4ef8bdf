"""A server for serving.py: the tests' gRPC and REST fixture over the versions in a folder.

    python benchmarks/long/polling_server.py FOLDER [POLL_SECONDS]

What TensorFlow Serving does and what the measurements depend on, it does as well: it polls the folder, loads the
highest version with `tf.saved_model.load`, runs the requests of its warm-up, and only then answers from it; requests
that have begun end on the version on which they began. It prints its addresses, then a line of JSON for each version
that it has loaded or could not load, and ends with its standard input.
"""

import contextlib
import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

FIXTURE = Path(__file__).parents[2] / "tests" / "serving" / "serving_fixture.py"
WORKERS = 4
specification = importlib.util.spec_from_file_location("serving_fixture", FIXTURE)
fixture = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fixture)


class PolledModel(fixture.ServedModel):
    """The highest version in a folder, whichever that is by now."""

    def __init__(self, folder, seconds):
        self.folder, self.seconds, self.current, self.failed = Path(folder), seconds, None, set()
        self.model_name, self.received = "segmenter", 0
        while self.current is None:
            self.poll()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._poll)

    def poll(self):
        numbers = (int(path.name) for path in self.folder.iterdir() if path.name.isdigit())
        number = max((number for number in numbers if number not in self.failed), default=0)
        if number > (self.current.version if self.current else 0):
            begin = time.perf_counter()
            try:
                loaded = fixture.ServedModel(self.folder)
                warm_up(loaded, self.folder)
            except Exception as error:
                self.failed.add(number)
                say(failed=number, why=f"{type(error).__name__}: {error}"[:300])
            else:
                self.current = loaded
                say(loaded=loaded.version, seconds=time.perf_counter() - begin)

    def _poll(self):
        while not self.stopped.wait(self.seconds):
            self.poll()

    @property
    def version(self):
        return self.current.version

    @property
    def definition(self):
        return self.current.definition

    def predict(self, inputs, signature):
        return self.current.predict(inputs, signature)

    def is_busy(self):
        return False

    def signatures(self):
        return self.current.signatures()

    @contextlib.contextmanager
    def polled(self):
        self.thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            self.thread.join()


def warm_up(model, folder):
    """Run the requests of a version's warm-up."""
    path = folder / str(model.version) / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        model.predict(inputs, request.model_spec.signature_name)


def say(**words):
    print(json.dumps(words), flush=True)


def main(folder, seconds="0.05"):
    model = PolledModel(folder, float(seconds))
    with fixture.served(model, workers=WORKERS) as address, fixture.served_over_rest(model) as url, model.polled():
        say(grpc=address, rest=url)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
