"""Prepared records: how a WORK folder is written, read and verified.

write.py      `write_tfrecords`: split, prepare, publish; decides whether there is work to do
build.py      one set of records: fit, plan the shards, write those that are missing
prepare.py    one case from its files to the network's box; runs in worker processes
encoding.py   a prepared case as bytes, in the smallest exact type; runs in worker processes
example.py    the bytes of a record, and its frame in a TFRecord
shards.py     which case is in which file, and how a file is written; runs in worker processes
sources.py    the files that a case is read from, and their SHA-256
provenance.py the inputs that determine the bytes of a record, so that a rerun prepares only changed cases
entries.py    the values that the manifest lists
manifest.py   `manifest.json`: settings, files and the place of each record
damage.py     files that are not as the manifest lists them
verify.py     `verify_records`: every byte compared
"""
