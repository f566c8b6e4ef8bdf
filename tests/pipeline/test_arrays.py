import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import RecordError
from mcc_keras.pipeline.arrays import read_arrays


@pytest.fixture(params=[None, "gzip"])
def manifest(request, tmp_path):
    source = write_synthetic(tmp_path / "scans", num_cases=4, size=(12, 10, 8), layout="pairs")
    box = mk.Preprocessing(size=(12, 10, 8), spacing_mm=(1, 2, 3))
    settings = {"split": (0.5, 0.5, 0), "compression": request.param, "accept_loss": True, "workers": 1}
    return mk.write_tfrecords(find_cases(source), tmp_path / "work", preprocessing=box, **settings)


def test_arrays_are_the_volumes_of_the_data_set_in_its_order(manifest):
    records = list(read_arrays(manifest, "train"))
    assert [record.case_id for record in records] == [case.case_id for case in manifest.cases("train")]
    for record, (image, mask) in zip(records, mk.load_dataset(manifest, "train", shuffle=False), strict=True):
        np.testing.assert_array_equal(record.image, image[0])
        np.testing.assert_array_equal(record.mask, mask[0, ..., 0])
        assert (record.image.dtype, record.spacing_mm) == (np.float32, (1.0, 2.0, 3.0))


def test_images_that_are_not_asked_for_are_not_read(manifest):
    assert [record.image for record in read_arrays(manifest, "validation", images=False)] == [None, None]


def test_a_damaged_record_is_an_error(manifest):
    record = manifest.records("train")[0]
    with open(record.path, "r+b") as file:
        file.seek(record.position + record.bytes // 2)
        file.write(b"\xff\x00\xff")
    with pytest.raises(RecordError, match=record.case_id):
        list(read_arrays(manifest, "train"))
