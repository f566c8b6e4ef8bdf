import pytest
import tensorflow as tf

from mcc_keras.datasets import find_cases
from mcc_keras.errors import EnvironmentFailure, UsageError
from mcc_keras.pipeline.cache import choose_cache, estimate_bytes, open_records
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.write import write_tfrecords


@pytest.fixture
def prepare(write_pairs, tmp_path):
    def run(name, **settings):
        cases = find_cases(write_pairs(tmp_path / f"{name}-pairs"))
        return write_tfrecords(
            cases,
            tmp_path / name,
            preprocessing=Preprocessing(size=8),
            split=(1, 0, 0),
            workers=1,
            accept_loss=True,
            **settings,
        )

    return run


def test_the_estimate_is_no_less_than_the_copy_takes_and_hardly_more(prepare):
    for compression in (None, "gzip"):
        manifest = prepare(f"work-{compression}", compression=compression)
        read, of_copy = open_records(manifest, "train", cache="memory")
        assert of_copy is None
        taken = sum(len(payload) for payload in tf.data.Dataset.range(5).flat_map(read).as_numpy_iterator())
        assert 0.8 * taken < estimate_bytes(manifest, "train") + 5 * 300  # 300: names and shape, beside 2560 of voxels
        assert estimate_bytes(manifest, "train") < 1.2 * taken


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_copy_that_takes_more_than_half_of_what_is_free_is_refused(cache):
    free = {"memory": 0, "disk": 0}
    assert choose_cache(cache, 1000, free=free | {cache: 2000}, compressed=False) == cache
    with pytest.raises(EnvironmentFailure, match=f"half of the 1,999 free bytes. .*cache='{cache}', which takes 1,000"):
        choose_cache(cache, 1000, free=free | {cache: 1999}, compressed=False)


@pytest.mark.parametrize(
    ("memory", "disk", "compressed", "chosen"),
    [
        (20, 20, False, "memory"),
        (20, 20, True, "memory"),
        (19, 20, True, "disk"),
        (19, 20, False, None),
        (19, 19, True, None),
    ],
)
def test_auto_is_memory_then_disk_for_what_is_compressed_then_the_shards(memory, disk, compressed, chosen):
    assert choose_cache("auto", 10, free={"memory": memory, "disk": disk}, compressed=compressed) == chosen


def test_an_unknown_cache_is_refused(prepare):
    with pytest.raises(UsageError, match="cache='ram'"):
        open_records(prepare("work"), "train", cache="ram")
