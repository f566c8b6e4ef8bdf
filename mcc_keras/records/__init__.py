"""What lies in a WORK folder; `tfrecords` writes and reads it.

encoding.py   a prepared case as bytes, in the smallest exact type; runs in worker processes
sources.py    the files that a case was made from, and their SHA-256
recipe.py     what decides the bytes of a record, so that a rerun makes only what has changed
example.py    the bytes of a record, and its frame in a TFRecord
checksum.py   CRC-32C, which is in the frame
shards.py     which case is in which file, and the writing of one; runs in worker processes
manifest.py   the one file that all others answer to, and the check whether they still do
"""
