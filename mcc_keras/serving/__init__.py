"""A run as a SavedModel, and a client for the server that answers from it.

export.py   `export_saved_model`
client.py   `segment_remote`
"""
