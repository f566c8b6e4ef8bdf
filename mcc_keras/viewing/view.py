"""`view`: a scan with its masks in a browser, served on this machine, or as one page to send or keep."""

import sys
import threading
import webbrowser
from pathlib import Path

from mcc_keras.errors import OutputExistsError, UsageError, VolumeError
from mcc_keras.files import CHOOSE_ANOTHER, refuse_impossible_output, refuse_output_that_is_input
from mcc_keras.reporting.html import write_page
from mcc_keras.viewing.document import PAGE_BYTES, served_files, whole_page
from mcc_keras.viewing.scene import read_scene
from mcc_keras.viewing.server import FileServer
from mcc_keras.volumes import refuse_remote

SUFFIXES = (".html", ".htm")


def view(
    scan,
    masks=(),
    output=None,
    *,
    names=None,
    affine=None,
    nonfinite="error",
    port=0,
    browser=True,
    overwrite=False,
):
    """Show a scan with its masks in a browser, until Ctrl-C; or write the page to a file.

    The page is drawn by NiiVue, which is part of this package: nothing is fetched from the network. It is served on
    127.0.0.1 under an address with a token that is new in each call. In a notebook use `show`.

    Args:
        scan: File, folder of DICOM files, `Volume`, or array (x, y, z) with voxels of 1 mm in RAS+ order. Of several
            channels of a `Volume` or an array, the first is shown.
        masks: Masks on the grid of the scan, each as `scan`.
        output: File for the page, with the voxels in it, at most 20 MB; a larger scan is cropped around its masks.
            `None` serves the page.
        names: Name → label or labels of a class, as `{"liver": 1, "tumor": (2, 3)}`; other labels have their numbers.
        affine: `"sform"` or `"qform"`, used where the two of a NIfTI file disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels of the scan, `"zero"` reads them as 0.
        port: Port of the address; 0 takes a free one.
        browser: Open the browser.
        overwrite: Replace an existing page.

    Returns:
        The path of the page, or `None` after it was served.

    Raises:
        EnvironmentFailure: The port is taken.
        GeometryError: A mask on another grid.
        LabelError: A mask whose values are no labels.
        OutputExistsError: The page exists already.
        VolumeError: A file that cannot be read, or a scan too large for a page and without masks to crop around.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> mask = np.zeros((8, 8, 8), int)
    >>> mask[2:6, 2:6, 2:6] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     view(np.random.default_rng(0).random((8, 8, 8)), [mask], f"{folder}/page.html", names={"cube": 1}).name
    'page.html'
    """
    if isinstance(masks, str | Path) or hasattr(masks, "ndim"):
        raise UsageError(f"`masks` must be a list. Received: one {type(masks).__name__}. Put it into brackets.")
    path = None if output is None else _refuse_output(output, [scan, *masks], overwrite=overwrite)
    scene = read_scene(scan, masks, names=names, affine=affine, nonfinite=nonfinite)
    if path is None:
        _serve(served_files(scene), port=port, browser=browser)
        return None
    document, _ = whole_page(scene)
    if document is None:
        whole = "Look at the whole scan without `output`"
        masked = any(mask.present for mask in scene.masks)
        way_out = f"{whole}." if masked else f"Name a mask to crop around. {whole}."
        found = "a larger part around the masks" if masked else "a larger one and no voxels of a mask"
        raise VolumeError(
            scene.scan.path or scene.name, f"expected a scan that fits {PAGE_BYTES // 10**6} MB, found {found}", way_out
        )
    return write_page(document, path)


def _refuse_output(output, sources, *, overwrite):
    refuse_remote(output)
    path = Path(output)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"A page is written as {' or '.join(SUFFIXES)}. Received: output={str(path)!r}.")
    refuse_impossible_output(path)
    if path.exists() and (path.is_dir() or not overwrite):
        raise OutputExistsError(path, "a folder" if path.is_dir() else "a file", CHOOSE_ANOTHER)
    refuse_output_that_is_input(path, [source for source in sources if isinstance(source, str | Path)])
    return path


def _serve(files, *, port, browser):
    try:
        with FileServer(files, port=port) as server:
            sys.stdout.write(f"{server.url}\nCtrl-C ends it.\n")
            sys.stdout.flush()
            if browser:  # in a thread, since a browser of the terminal returns only when it is closed
                threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            server.serve_forever()
    except KeyboardInterrupt:
        return
