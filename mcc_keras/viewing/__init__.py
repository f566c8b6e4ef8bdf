"""Looking at a scan with its masks.

scene.py    a scan and masks on its grid, with classes, colors and names
crops.py    the part of a scan around its masks
document.py the page for a browser, drawn by NiiVue
server.py   serves the page on this machine only
view.py     `view`: that page in a browser, or as one file
show.py     `show`: three planes in a notebook, drawn by matplotlib
sliders.py  sliders for the planes, where ipywidgets is installed
niivue/     NiiVue as published, with its license
"""
