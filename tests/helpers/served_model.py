"""The model of the client's tests.

    python tests/helpers/served_model.py FOLDER

exports it, for a server that is not started by the tests: TensorFlow Serving serves FOLDER under the name `segmenter`,
and MCC_KERAS_TF_SERVING=HOST:PORT has the client's tests ask it over gRPC.
"""

import sys

import keras


def network(channels=1):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    head = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    return keras.Sequential([keras.Input((16, 16, 16, channels)), inside, head])


def main(folder):
    import mcc_keras as mk
    from mcc_keras.segmentation.segmenter import Segmenter

    print(mk.export_saved_model(Segmenter(network(), mk.Preprocessing(size=16)), folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
