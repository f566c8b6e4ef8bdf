"""Pages and pictures.

html.py         self-contained pages
plots.py        learning curves, slices with outlines
thumbnails.py   small pictures in NumPy
preview.py      what augmentation does to a case
"""
