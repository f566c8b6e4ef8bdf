"""File formats of volumes, one module each; `mcc_keras.volumes` is the public interface.

nifti.py          NIfTI 1 and 2, single files and pairs
metaimage.py      MetaImage: `.mha`, `.mhd` and its data file
nrrd.py           NRRD
text_header.py    shared by MetaImage and NRRD: lines of text, and voxels behind or beside them
dicom.py          a folder of DICOM files of one series
dicom_tags.py     recognizes DICOM files by their first elements
dicom_slices.py   decodes and orders the slices, in a process of its own
dicom_seg.py      masks as DICOM SEG
values.py         values that are finite, and labels that are whole
geometry.py       affines: which one a NIfTI header means, and the distance between two
streams.py        plain and gzip files, read in pieces and within limits
"""
