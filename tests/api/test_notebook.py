"""The notebook of docs/ runs whole; what it says of curves, bytes and gradients it asserts itself."""

import sys

import nbformat
import pytest
from nbclient import NotebookClient
from support.runs import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "columns_and_replicas.ipynb"


@pytest.mark.slow(40)
def test_the_notebook_runs_whole_and_shows_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    kernel = client.create_kernel_manager()
    kernel.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert any("<b>digits-" in output.get("data", {}).get("text/html", "") for output in shown)
    assert "cpu processes (--parallel=hybrid)" in "".join(output.get("text", "") for output in shown)


def test_the_notebook_is_committed_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert len(cells) > 6 and not any(cell.outputs or cell.execution_count for cell in cells)
