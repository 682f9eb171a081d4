import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_material import embed_all, lay_out

from pipeline.artifacts import catalog
from pipeline.artifacts.schema import SIMILARITIES
from pipeline.artifacts.tables import ContractError
from pipeline.features.similarities import write

CLIPS = ["base", "twin"]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    ws = lay_out(tmp_path_factory.mktemp("data"))
    embed_all(ws, tmp_path_factory.mktemp("store"))
    return ws


def test_every_caption_has_the_cosines_of_its_image_under_every_clip(embedded, tmp_path):
    table = pq.read_table(write(embedded, CLIPS, tmp_path / "all.parquet"))
    assert table.schema.remove_metadata().equals(SIMILARITIES)
    assert table.schema.metadata[b"clips"] == b"base,twin"
    manifest = embedded.manifest()
    assert table["key"].to_pylist() == [
        key for key, own in zip(manifest.keys, manifest.captions, strict=True) for _ in own
    ]
    assert table["origin"].to_pylist() == [origin for row in manifest.rows for origin in row["caption_origins"]]
    assert table["caption"].to_pylist() == [text for own in manifest.captions for text in own]
    found = np.array(table["cosines"].to_pylist())
    for place, name in enumerate(CLIPS):
        of = catalog.tables_of(name)
        images = embedded.table(of.images, manifest).rows_of(manifest.keys).astype(np.float64)
        captions = embedded.table(of.captions, manifest).rows_of(manifest.keys).astype(np.float64)
        image_of = np.repeat(np.arange(len(manifest)), [len(own) for own in manifest.captions])
        np.testing.assert_allclose(found[:, place], (images[image_of] * captions).sum(axis=1), atol=1e-4)


def test_a_folder_gets_one_table_a_pass(embedded, tmp_path):
    first = write(embedded, CLIPS, tmp_path)
    assert first.name == "similarities-0001.parquet"
    before = first.read_bytes()
    assert write(embedded, CLIPS, tmp_path) == first and first.read_bytes() == before
    table = pq.read_table(first)
    pq.write_table(table.replace_schema_metadata({"manifest": "another", "clips": "base"}), first)
    assert write(embedded, CLIPS, tmp_path).name == "similarities-0002.parquet"


def test_without_features_it_says_what_to_run(embedded, tmp_path):
    with pytest.raises((ContractError, FileNotFoundError), match=r"features|captions"):
        write(embedded, ["base", "nobody"], tmp_path / "all.parquet")
