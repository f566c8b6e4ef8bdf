"""Pages and pictures.

html.py         self-contained pages
plain.py        text for terminals and tables
plots.py        learning curves, slices with outlines
thumbnails.py   small pictures in NumPy
preview.py      a case before and after augmentation
"""
