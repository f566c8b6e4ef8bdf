"""What lies in a WORK folder.

write.py      `write_tfrecords`: split, fit, preprocess, write shards
prepare.py    one case from its files to the network's box; runs in worker processes
encoding.py   a prepared case as bytes, in the smallest exact type; runs in worker processes
sources.py    the files that a case was made from, and their SHA-256
provenance.py what decides the bytes of a record, so that a rerun makes only what has changed
example.py    the bytes of a record, and its frame in a TFRecord
shards.py     which case is in which file, and the writing of one; runs in worker processes
manifest.py   the one file that all others answer to, and the check whether they still do
"""
