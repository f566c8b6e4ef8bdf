"""The page that draws a scene with NiiVue: as files for a server, or as one file with everything in it.

Nothing is fetched from elsewhere: the content security policy allows no other source, and every text is escaped.
"""

import base64
import hashlib
import json
from importlib import resources

import numpy as np

from mcc_keras.formats.geometry import header_like
from mcc_keras.formats.nifti import encode_nifti
from mcc_keras.reporting.html import Markup, element, join, printable
from mcc_keras.viewing.crops import box_around, crop
from mcc_keras.volumes import Volume

PAGE_BYTES = 20_000_000
MARGINS_MM = (150.0, 100.0, 75.0, 50.0, 40.0, 30.0, 20.0, 15.0, 10.0, 5.0, 2.0, 0.0)
SCRIPTS = ("niivue/niivue.umd.js", "viewer.js")
_LICENSES = ("niivue/LICENSE", "niivue/NOTICES")
# Bytes of a page for each of its scan: at first the least that is thought of, so that no hopeless part is compressed.
_LEAST, _DOUBT = 1 / 8, 1.5
_SERVED = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
_ALONE = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data: blob:"
_PAGE = Markup("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title><style>{css}</style></head>
<body><header><h1>{title}</h1><p class="note">{lead}</p></header>
<main><canvas id="canvas"></canvas></main>
<p id="problem" class="warn" role="alert"></p><p id="place" class="note">&nbsp;</p>
<div id="masks">{masks}</div>
<div id="controls">
<label>view <select id="planes"><option value="3">planes and 3-D</option><option value="0">axial</option>
<option value="1">coronal</option><option value="2">sagittal</option><option value="4">3-D</option></select></label>
<label{hidden}>opacity <input id="opacity" type="range" min="0" max="1" step="0.05" value="0.5"></label>
<label>black <input id="low" type="range" min="0" max="1" step="0.005"></label>
<label>white <input id="high" type="range" min="0" max="1" step="0.005"></label>
</div>
<p class="note">The patient’s right is on the left of axial and coronal slices. Click to move the cross; the wheel turns
pages; drag with the right button for contrast. Not for diagnosis.</p>
<script type="application/json" id="scene">{scene}</script>
{data}{scripts}</body></html>
""")


def served_files(scene):
    """Return the files of the page: name → (media type, bytes); "" is the page itself.

    Example:

    >>> from mcc_keras.viewing.scene import read_scene
    >>> sorted(served_files(read_scene(np.zeros((4, 4, 4)), [np.ones((4, 4, 4), int)])))
    ['', 'mask-1.nii', 'niivue.umd.js', 'scan.nii', 'viewer.js']
    """
    files = {name.rpartition("/")[2]: ("text/javascript; charset=utf-8", _asset(name)) for name in SCRIPTS}
    scripts = join(element('<script src="{}"></script>', name) for name in files)
    layers = {f"{name}.nii": ("application/octet-stream", data) for name, data in _layers(scene, level=0).items()}
    page = _page(scene, policy=_SERVED, scripts=scripts, urls=list(layers))
    return {"": ("text/html; charset=utf-8", page.encode()), **files, **layers}


def whole_page(scene, *, limit=PAGE_BYTES):
    """Return the page as one document, of the whole scan or, where that is too large, of the part around the masks.

    The part has the largest of several margins that fits; its place in space is exact.

    Args:
        scene: `Scene`.
        limit: Largest size of the page in bytes.

    Returns:
        The document, and the `Box` of the part or None for the whole scan. Both are None where nothing fits.

    Example:

    >>> from mcc_keras.viewing.scene import read_scene
    >>> mask = np.zeros((40, 40, 40), int)
    >>> mask[20, 20, 20] = 1
    >>> scene = read_scene(np.random.default_rng(0).normal(size=(40, 40, 40)), [mask])
    >>> whole_page(scene)[1], whole_page(scene, limit=2_400_000)[1]
    (None, Box(low=(10, 10, 10), high=(31, 31, 31)))
    """
    boxes = dict.fromkeys([None, *(box_around(scene, margin) for margin in MARGINS_MM)])
    least = _LEAST
    for box in boxes:
        part = scene if box is None else crop(scene, box)
        if part.scan.array.nbytes * least > limit:
            continue
        document = _alone(part, box, scene.scan.shape)
        size = len(document.encode())
        if size <= limit:
            return document, box
        least = size / part.scan.array.nbytes / _DOUBT
    return None, None


def _alone(scene, box, shape):
    codes = [Markup(_asset(name).decode()) for name in SCRIPTS]
    hashes = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes)
    policy = _ALONE.format(" ".join(f"'sha256-{value}'" for value in hashes))
    scripts = join(Markup("<script>") + code + Markup("</script>\n") for code in codes)
    data = {name: base64.b64encode(layer).decode() for name, layer in _layers(scene, level=6).items()}
    blocks = [_block(name, Markup(text)) for name, text in data.items()]
    blocks.append(_block("licenses", "\n\n".join(_asset(name).decode() for name in _LICENSES)))
    part = "" if box is None else f"Part of the scan: {_ranges(box, shape)}. "
    return _page(scene, policy=policy, scripts=scripts, urls=[None] * len(data), data=join(blocks), part=part)


def _ranges(box, shape):
    sides = zip("xyz", box.low, box.high, shape, strict=True)
    return ", ".join(f"{axis} {low} to {high - 1} of {size}" for axis, low, high, size in sides)


def _page(scene, *, policy, scripts, urls, data="", part=""):
    size, spacing = (
        " × ".join(f"{value:.4g}" for value in found) for found in (scene.scan.shape, scene.scan.spacing_mm)
    )
    return _PAGE.format(
        policy=Markup(policy),
        title=printable(scene.name),
        lead=f"{part}{size} voxels of {spacing} mm",
        css=Markup(_asset("viewer.css").decode()),
        masks=join(_legend(scene, number) for number in range(len(scene.masks))),
        hidden=Markup("" if scene.masks else " hidden"),
        scene=_script_json(_describe(scene, urls)),
        data=data,
        scripts=scripts,
    )


def _legend(scene, number):
    """Return a box to tick for a mask, with its name and those of its classes."""
    mask = scene.masks[number]
    classes = join(
        element('<span><i style="background:#{}"></i>{}</span>', bytes(scene.color(number, index)).hex(), name)
        for index, name in enumerate(scene.names, start=1)
        if index in mask.present
    )
    template = '<div><label><input type="checkbox" data-mask="{}" checked> {}</label>{}</div>'
    return element(template, number + 1, mask.name, classes if mask.present else Markup("<span>empty</span>"))


def _describe(scene, urls):
    """Return what the script needs: where the voxels are, the window of the scan, colors and names of classes."""
    ids = ["scan", *(f"mask-{number}" for number in range(1, len(scene.masks) + 1))]
    layers = [{"id": name, "url": url} for name, url in zip(ids, urls, strict=True)]
    for number, (layer, mask) in enumerate(zip(layers[1:], scene.masks, strict=True)):
        layer["name"] = printable(mask.name)
        layer["colors"] = [scene.color(number, index) for index in range(1, len(scene.names) + 1)]
    return {
        "layers": layers,
        "names": [printable(name) for name in scene.names],
        "cross": (scene.scan.affine @ [*scene.focus, 1.0])[:3].tolist(),
        "extentMm": float(np.max(np.multiply(scene.scan.shape, scene.scan.spacing_mm))),
        "window": scene.window,
        "range": [float(scene.scan.array.min()), float(scene.scan.array.max())],
    }


def _layers(scene, *, level):
    """Return name → bytes of NIfTI for the scan and its masks."""
    arrays = [_drawable(scene.scan.array), *(mask.classes for mask in scene.masks)]
    names = ["scan", *(f"mask-{number}" for number in range(1, len(arrays)))]
    headers = (header_like(Volume(array, scene.scan.affine)) for array in arrays)
    return {
        name: encode_nifti(array, header, level=level)
        for name, array, header in zip(names, arrays, headers, strict=True)
    }


def _drawable(array):
    """Return voxels in a type that a graphics card takes: as stored, or in float32."""
    if array.dtype in (np.uint8, np.int16, np.uint16, np.float32):
        return array
    if array.dtype.kind == "f":
        largest = np.finfo(np.float32).max
        return np.clip(array, -largest, largest).astype(np.float32)
    return array.astype(np.int16 if array.dtype == np.int8 else np.float32)


def _block(name, text):
    """Return text in the page that is not shown."""
    return element('<script type="text/plain" id="{}">{}</script>\n', name, text)


def _script_json(value):
    """Return JSON that no text in it can end."""
    return Markup(json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _asset(name):
    return resources.files("mcc_keras.viewing").joinpath(name).read_bytes()
