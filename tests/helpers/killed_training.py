"""A small training in a process of its own that reports its events, so that a test can kill it right after one.

python killed_training.py WORK RUN
"""

import sys

import keras

import mcc_keras as mk

SETTINGS = {"epochs": 3, "batch_size": 2, "seed": 3, "augment": "light", "verbose": 0}


def network():
    """A network with all that a step changes: weights, moving averages, the state of a seed."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv3D(4, 3, padding="same", name="first")(inputs))
    x = keras.layers.Dropout(0.3)(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x))


def report(text):
    """Write an event and wait until it is read: the other side kills, or answers with a line."""
    print(text, flush=True)
    sys.stdin.readline()


class Events(keras.callbacks.History):
    """Reports steps and validations."""

    def on_train_batch_end(self, batch, logs=None):
        report("step")

    def on_test_begin(self, logs=None):
        report("validation")


def main(work, run):
    from mcc_keras.training import generations, keeper

    write = generations.write_document

    def write_and_report(value, path, **keywords):
        report("save")  # the arrays are written, the generation is not yet
        return write(value, path, **keywords)

    generations.write_document = write_and_report
    keeper.COST_FACTOR = keeper.LONGEST_SECONDS = 0  # a save after every step
    mk.train(work, run, model=network(), callbacks=[Events()], **SETTINGS)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
