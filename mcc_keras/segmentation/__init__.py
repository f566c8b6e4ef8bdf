"""From a scan to its mask with a trained network.

segmenter.py     preprocessing, network and restoring as one graph, which evaluation and export share; ensembles
scan_graph.py    that graph, a few rows of the scan at a time
windows.py       where windows lie in a box, and how they are blended
slabs.py         masks and probabilities in parts
memory.py        scans that the memory does not hold, and windows that it would hold
sizes.py         which sizes of windows a network takes
cleaning.py      connected components of a mask, which no graph holds
segment.py       a scan on disk in, its mask out
many.py          many scans in one process
jobs.py          masks that exist, scans to segment
line.py          reading, network and writing beside each other, in one process or several
beside.py        threads that read ahead and write behind
scans.py         files, folders and data sets as scans with names of their own
outputs.py       the files of one mask
probability.py   probabilities on disk, slab by slab
bids.py          names of BIDS derivatives
codes.py         names and codes of the segments of a DICOM SEG
fingerprint.py   one hash over all that the masks of a model depend on
origin.py        the file beside a mask that says where it comes from
explain.py       reading it, and finding the run
"""
