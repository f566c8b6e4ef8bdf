"""Every notebook runs from a fresh kernel, is stored executed, and stays small."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MAX_BYTES = 300_000


@pytest.fixture(scope="module")
def nbformat():
    pytest.importorskip("ipykernel", reason="needs the extra `notebooks`: pip install 'mcc_keras[notebooks]'")
    pytest.importorskip("nbclient", reason="needs the extra `notebooks`: pip install 'mcc_keras[notebooks]'")
    return pytest.importorskip("nbformat", reason="needs the extra `notebooks`: pip install 'mcc_keras[notebooks]'")


def test_the_first_notebook_is_there():
    assert "01_mcc_loss.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_executed_small_and_without_errors(nbformat, path):
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)


# The kernel's own sockets and event loop warn; what the notebook prints is what counts here.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_fresh_kernel(nbformat, path, tmp_path):
    import nbclient

    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert list(tmp_path.iterdir()) == []
