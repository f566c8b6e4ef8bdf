"""A run as a SavedModel, and a client for the server that answers from it.

export.py                `export_saved_model`, its arguments checked
saved_model.py           what needs TensorFlow; the operations that an exported graph may hold
versions.py              where a version is written, and how it is published
bytes_signature.py       signatures that take files, or the box
nifti_graph.py           a NIfTI file read in the graph
nifti_graph_header.py    its header
nifti_graph_affine.py    its affine
nifti_graph_voxels.py    gzip, types, scaling
mask_graph.py            the mask as the bytes of a file
client.py                `segment_remote`
many.py                  `segment_many_remote`
remote.py                a served model, as a client sees it
address.py               where a server answers, and what it asks to see
over_grpc.py             a server over gRPC
over_rest.py             a server over REST
scan_bytes.py            the files of a scan as they are sent
answers.py               the checks of what comes back
refusals.py              what is tried again, and the words for what is not
"""
