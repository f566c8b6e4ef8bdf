"""From a scan to its mask with a trained network.

segmenter.py   preprocessing, network and restoring as one graph, which evaluation and export share
segment.py     a scan on disk in, its mask out
codes.py       names and codes of the segments of a DICOM SEG
"""
