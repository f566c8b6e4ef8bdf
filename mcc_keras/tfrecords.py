"""TFRecords: the only module that knows how a prepared case lies on disk.

A WORK folder holds, for every part that is not empty, shards `train-00000-of-00003.tfrecord`, and beside them

    manifest.json        cases with source files and parts; every shard's size, SHA-256 and record positions
    preprocessing.json   the fitted `Preprocessing`

One record is one case: raw little-endian float32 image, uint8 mask, their shape, the box's voxel size, the case id.
The folder is written under a temporary name and renamed, so that it is there whole or not at all.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import joblib
import numpy as np
import tensorflow as tf

from mcc_keras.datasets.cases import Case, read_image
from mcc_keras.datasets.prepare import prepare_case
from mcc_keras.errors import DataErrors, LabelError, MCCKerasError, OutputExistsError, RecordError, UsageError
from mcc_keras.files import write_text, written_aside
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.splits import check_split, split_cases

SCHEMA = 1
MANIFEST, PREPROCESSING = "manifest.json", "preprocessing.json"
SHARD_BYTES = 64 * 2**20
AGAIN = "Prepare the data again."
FRAME = 12, 4  # a TFRecord is framed by 12 bytes before and 4 behind


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a WORK folder holds.

    Args:
        work: The folder.
        settings: How it was made: preprocessing, split, seed, labels, cases with source files.
        preprocessing: The fitted `Preprocessing`.
        shards: Part → list of dicts (file, bytes, sha256, records).
    """

    work: Path
    settings: dict
    preprocessing: Preprocessing
    shards: dict

    @property
    def labels(self):
        """Mask labels of each foreground class."""
        return tuple(tuple(group) for group in self.settings["labels"])

    @property
    def channel_names(self):
        """Names of the image channels, in order."""
        return tuple(self.settings["channel_names"])

    @property
    def num_classes(self):
        """Channels of a network for these records: 1 (sigmoid) for one foreground class, else background + classes."""
        return self._any_case.num_classes

    @property
    def label_values(self):
        """What a written mask holds for background and each foreground class."""
        return self._any_case.label_values

    @property
    def counts(self):
        """Part → number of cases."""
        return {part: sum(len(shard["records"]) for shard in shards) for part, shards in self.shards.items()}

    @property
    def image_shape(self):
        """Shape of an image: (*size, channels)."""
        return (*self.preprocessing.size, len(self.channel_names))

    def records(self, part):
        """Return (shard path, bytes before, bytes, bytes behind) of the record of every case, in the order of ids."""
        if not self.counts.get(part):
            there = ", ".join(f"{name} ({count})" for name, count in self.counts.items() if count)
            raise UsageError(f"{self.work}: expected a part with cases in it. Received: part={part!r}. There: {there}.")
        found = []
        for shard in self.shards[part]:
            path, size = str(self.work / shard["file"]), shard["bytes"]
            spans = [(r["position"], r["bytes"]) for r in shard["records"]]
            found += [(path, before, length, size - before - length) for before, length in spans]
        return found

    def cases(self, part):
        """Return the `Case`s of a part, with the paths of their source files."""
        return tuple(_case(entry, self.settings) for entry in self.settings["cases"] if entry["part"] == part)

    @property
    def _any_case(self):
        return _case(self.settings["cases"][0], self.settings)


def write_tfrecords(cases, work, *, preprocessing, split=(0.7, 0.2, 0.1), seed=0, workers=None, progress=False):
    """Prepare cases for training: split by patient, fit on the training part, preprocess, write sharded records.

    Args:
        cases: `Case`s with masks, all of the same labels and channels.
        work: Folder to write. One that holds records of the same settings is left as it is, any other is refused.
        preprocessing: `Preprocessing`; what it leaves open is fitted to the training cases.
        split: Shares of training, validation and test, or a dict part → case ids.
        seed: Integer seed of the split.
        workers: Processes that read and preprocess; `None` is one a core. The bytes do not depend on it.
        progress: Show a bar on a terminal.

    Returns:
        The `Manifest`.

    Raises:
        OutputExistsError: `work` holds something else.
        DataErrors: Cases that cannot be prepared, all of them at once.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import find_cases, write_synthetic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = write_synthetic(f"{folder}/scans", num_cases=10, size=(16, 16, 8), layout="pairs")
    ...     box = Preprocessing(size=(16, 16, 8))
    ...     manifest = write_tfrecords(find_cases(source), f"{folder}/work", preprocessing=box, workers=1)
    >>> manifest.counts
    {'train': 7, 'validation': 2, 'test': 1}
    """
    cases, work = sorted(cases, key=lambda case: case.case_id), Path(work)
    _check_uniform(cases)
    parts = split if isinstance(split, dict) else split_cases(cases, split, seed=seed)
    check_split(parts, cases)
    settings = _settings(cases, parts, preprocessing, split, seed)
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        return _same_records(work, settings)
    members = {part: [case for case in cases if case.case_id in set(parts[part])] for part in parts}
    if preprocessing.size is None:
        preprocessing = preprocessing.fit(read_image(case) for case in members["train"])
    with written_aside(work) as aside:
        aside.mkdir()
        shards = _write_parts(members, aside, preprocessing, workers=workers, progress=progress)
        write_text(aside / PREPROCESSING, preprocessing.to_json())
        text = json.dumps({"schema": SCHEMA, "settings": settings, "shards": shards}, indent=1)
        write_text(aside / MANIFEST, text + "\n")
    return read_manifest(work)


def read_manifest(work, *, verify=True):
    """Return the `Manifest` of a WORK folder.

    Args:
        work: Folder that `write_tfrecords` wrote.
        verify: Compare size and SHA-256 of every shard with the manifest.

    Raises:
        RecordError: The folder holds no records, or damaged ones, or those of another schema.
    """
    work = Path(work)
    if not (work / MANIFEST).is_file():
        raise RecordError(work, f"expected prepared records, found no {MANIFEST}", "Make them with `prepare`.")
    try:
        content = json.loads((work / MANIFEST).read_text(encoding="utf-8"))
        schema, settings, shards = content["schema"], content["settings"], content["shards"]
        text = (work / PREPROCESSING).read_text(encoding="utf-8")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RecordError(work / MANIFEST, f"expected a manifest, found {error!r}", AGAIN) from error
    if schema != SCHEMA:
        raise RecordError(work / MANIFEST, f"expected schema {SCHEMA}, found {schema}", AGAIN)
    preprocessing = Preprocessing.from_json(text, path=work / PREPROCESSING)
    if verify:
        _verify(work, shards)
    return Manifest(work, settings, preprocessing, shards)


def parse_example(serialized, image_shape):
    """Read one record inside a TensorFlow graph.

    Args:
        serialized: Scalar string tensor, a `tf.train.Example`.
        image_shape: (x, y, z, channels), known from the manifest.

    Returns:
        Dict of tensors: `image` float32 of `image_shape`, `mask` uint8 (x, y, z), `spacing_mm` float32 (3,), `case_id`.
    """
    features = {
        "image": tf.io.FixedLenFeature((), tf.string),
        "mask": tf.io.FixedLenFeature((), tf.string),
        "spacing_mm": tf.io.FixedLenFeature((3,), tf.float32),
        "case_id": tf.io.FixedLenFeature((), tf.string),
    }
    example = tf.io.parse_single_example(serialized, features)
    example["image"] = tf.reshape(tf.io.decode_raw(example["image"], tf.float32), image_shape)
    example["mask"] = tf.reshape(tf.io.decode_raw(example["mask"], tf.uint8), image_shape[:3])
    return example


def _check_uniform(cases):
    if not cases:
        raise UsageError("Expected at least one case to prepare, received none.")
    without = [
        LabelError(case.case_id, "expected a mask, found none", "Leave it out.") for case in cases if not case.mask
    ]
    if without:
        raise DataErrors(without)
    for name in ("labels", "background", "channel_names"):
        kinds = {getattr(case, name) for case in cases}
        if len(kinds) > 1:
            raise UsageError(f"Expected one {name} for all cases. Received: {name}={sorted(kinds)}.")


def _settings(cases, parts, preprocessing, split, seed):
    part_of = {case_id: part for part, ids in parts.items() for case_id in ids}
    return {
        "labels": [list(group) for group in cases[0].labels],
        "background": list(cases[0].background),
        "channel_names": list(cases[0].channel_names),
        "preprocessing": json.loads(preprocessing.to_json()),
        "split": None if isinstance(split, dict) else list(split),
        "seed": seed,
        "cases": [_entry(case, part_of[case.case_id]) for case in cases if case.case_id in part_of],
    }


def _entry(case, part):
    files = [*case.images, case.mask]
    return {
        "case_id": case.case_id,
        "group": case.group,
        "part": part,
        "images": [str(Path(path).resolve()) for path in case.images],
        "mask": str(Path(case.mask).resolve()),
        "affine": case.affine,
        "bytes": [Path(path).stat().st_size if Path(path).is_file() else None for path in files],
    }


def _case(entry, settings):
    return Case(
        case_id=entry["case_id"],
        images=tuple(Path(path) for path in entry["images"]),
        mask=Path(entry["mask"]),
        group=entry["group"],
        labels=tuple(tuple(group) for group in settings["labels"]),
        background=tuple(settings["background"]),
        channel_names=tuple(settings["channel_names"]),
        part=entry["part"],
        affine=entry["affine"],
    )


def _same_records(work, settings):
    if not (work / MANIFEST).is_file():
        raise OutputExistsError(work, "a folder that is not empty", "Choose another folder for the records.")
    manifest = read_manifest(work)
    differ = [name for name in settings if settings[name] != manifest.settings.get(name)]
    if differ:
        way_out = "Choose another folder, or move this one away."
        raise OutputExistsError(work, f"records of other settings ({', '.join(differ)})", way_out)
    return manifest


def _write_parts(members, folder, preprocessing, *, workers, progress):
    jobs = [(part, case) for part, cases in members.items() for case in cases]
    workers = min(workers or joblib.cpu_count(), len(jobs))
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator", pre_dispatch=2 * workers)
    prepared = parallel(joblib.delayed(prepare_case)(case, preprocessing) for _, case in jobs)
    if progress:
        from tqdm import tqdm

        prepared = tqdm(prepared, total=len(jobs), desc="prepare", unit="case", disable=None)
    failed, shards = [], {part: _Shards(folder, part) for part in members}
    for (part, _), case in zip(jobs, prepared, strict=True):
        if isinstance(case, MCCKerasError):
            failed.append(case)
        elif not failed:
            shards[part].add(case)
    if failed:
        raise DataErrors(failed)
    return {part: writer.close() for part, writer in shards.items()}


class _Shards:
    """Writes the records of one part, shard by shard; names carry the number of shards, so they come last."""

    def __init__(self, folder, part):
        self.folder, self.part, self.shards, self.writer = folder, part, [], None

    def add(self, case):
        serialized = _serialize(case)
        if self.writer is None:
            self.shards.append(
                {"path": self.folder / f"{self.part}-{len(self.shards)}.open", "records": [], "bytes": 0}
            )
            self.writer = tf.io.TFRecordWriter(str(self.shards[-1]["path"]))
        shard = self.shards[-1]
        self.writer.write(serialized)
        shard["records"].append(
            {"case_id": case.case_id, "position": shard["bytes"] + FRAME[0], "bytes": len(serialized)}
        )
        shard["bytes"] += len(serialized) + sum(FRAME)
        if shard["bytes"] >= SHARD_BYTES:
            self._close_shard()

    def close(self):
        self._close_shard()
        listed = []
        for index, shard in enumerate(self.shards):
            name = f"{self.part}-{index:05d}-of-{len(self.shards):05d}.tfrecord"
            os.rename(shard["path"], self.folder / name)
            digest = _sha256(self.folder / name)
            listed.append({"file": name, "bytes": shard["bytes"], "sha256": digest, "records": shard["records"]})
        return listed

    def _close_shard(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def _serialize(case):
    def of_bytes(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    feature = {
        "case_id": of_bytes(case.case_id.encode()),
        "image": of_bytes(np.ascontiguousarray(case.image, "<f4").tobytes()),
        "mask": of_bytes(np.ascontiguousarray(case.mask).tobytes()),
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=case.image.shape)),
        "spacing_mm": tf.train.Feature(float_list=tf.train.FloatList(value=case.spacing_mm)),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def _verify(work, shards):
    for shard in (shard for part in shards.values() for shard in part):
        path = work / shard["file"]
        if not path.is_file():
            raise RecordError(path, "expected a shard, found no file", AGAIN)
        if path.stat().st_size != shard["bytes"]:
            found = f"expected {shard['bytes']} bytes, found {path.stat().st_size}"
            raise RecordError(path, found, AGAIN)
        if _sha256(path) != shard["sha256"]:
            raise RecordError(path, "expected the SHA-256 of the manifest, found another", AGAIN)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
