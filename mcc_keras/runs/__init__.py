"""What a run was given, what it saw, and what came out: plain values, without TensorFlow.

run.py     the run folder and its reader
table.py   the runs below a folder, side by side
"""
