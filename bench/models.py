"""The model that the package ships, and loading a model as the tagger does. Imports torch only when a model is loaded."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagger.model.backends.protocol import BackendName
    from tagger.model.model import Model

SHIPPED = Path(__file__).parents[1] / "tagger" / "shipped" / "landmarks.pt"
MAX_BYTES, MAX_PIXELS = 512 * 2**20, 250_000_000


def load_model(
    path: Path,
    data_folder: Path,
    *,
    kind: str = "cpu",
    batch_size: int | None = None,
    backend: "BackendName | None" = None,
) -> "Model":
    """Load a model on a kind of device. The selection of its backend is kept where the tagger keeps it with this data folder."""
    from tagger.database.connection import open_database
    from tagger.library.catalog.registered_models import StoredSelections
    from tagger.model.artifact import file_digest, read_manifest
    from tagger.model.backends.protocol import BackendOptions
    from tagger.model.devices import choose_device, passes_at_once
    from tagger.model.model import load_fastest_model

    device = choose_device(kind, batch_size)
    options = BackendOptions(backend, passes_at_once(device, None), batch_size)
    with closing(open_database(f"sqlite:///{data_folder / 'tagger.sqlite'}")) as database:
        selections = StoredSelections(database)
        digest, manifest = file_digest(path), read_manifest(path)
        conversions = data_folder / "conversions"
        return load_fastest_model(path, digest, manifest, device, options, selections, conversions)
