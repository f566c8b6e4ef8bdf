"""How volumes lie on disk, one format a file; what a user sees of them is `mcc_keras.volumes`.

nifti.py         NIfTI 1 and 2, single files and pairs
metaimage.py     MetaImage: `.mha`, `.mhd` and its data file
nrrd.py          NRRD
text_header.py   what the two before share: lines of text, and voxels behind or beside them
dicom.py         a folder of DICOM files of one series, decoded in a process of its own
geometry.py      affines: which one a header means, and how far two of them lie apart
"""
