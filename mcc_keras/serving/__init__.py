"""A run as a SavedModel, and a client for the server that answers from it.

export.py        `export_saved_model`, its arguments checked
saved_model.py   what needs TensorFlow; the operations that an exported graph may hold
versions.py      where a version is written, and how it is published
client.py        `segment_remote`
"""
