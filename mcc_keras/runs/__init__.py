"""What a run was given, what it saw, and what came out: plain values, without TensorFlow.

run.py     the run folder and its reader
table.py   the runs below a folder, side by side
window.py  the part of a scan that the network sees at a time
"""
