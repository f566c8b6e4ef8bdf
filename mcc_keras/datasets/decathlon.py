"""`dataset.json`: Medical Segmentation Decathlon, nnU-Net version 1 and version 2.

    dataset.json  imagesTr/a.nii.gz       labelsTr/a.nii.gz       "training": [{"image": …, "label": …}]    (Decathlon)
    dataset.json  imagesTr/a_0000.nii.gz  labelsTr/a.nii.gz       "training": the same without _0000        (nnU-Net 1)
    dataset.json  imagesTr/a_0000.nii.gz  labelsTr/a.nii.gz       "channel_names", "labels": name → value   (nnU-Net 2)

Several channels are several files `_0000`, `_0001`, … or one 4-D file (Decathlon). Without training cases the test
cases are found, which have no masks. An entry that names the file `_0000` stands for all its channels.
"""

from mcc_keras.datasets.paths import confined, possible_file, stem_of
from mcc_keras.documents import read_object
from mcc_keras.errors import CaseError, raise_all
from mcc_keras.volumes import suffix_of

WAY_OUT = "See the Medical Segmentation Decathlon and nnU-Net for its form."


def matches(source):
    """Whether a path is a `dataset.json` or a folder that has one."""
    return source.suffix == ".json" or (source / "dataset.json").is_file()


def find(source):
    """Return the cases of a `dataset.json`, the labels that it declares in the order of their values, their names."""
    path = source if source.suffix == ".json" else source / "dataset.json"
    settings = read_object(path, error=CaseError, way_out=WAY_OUT)
    channels = _channels(settings, path)
    entries = settings.get("training") or _listed(settings, path)
    images_only = not entries
    entries = entries or settings.get("test") or []
    if not isinstance(entries, list):
        raise CaseError(path, f'expected "training" to be a list, found {type(entries).__name__}', WAY_OUT)
    if not entries:
        problem = 'expected cases in "training", in "test" or in imagesTr beside it, found none'
        raise CaseError(path, problem, WAY_OUT)
    cases, problems = [], []
    for entry in entries:
        try:
            cases.append(_case(entry, path, channels, images_only))
        except CaseError as problem:
            problems.append(problem)
    raise_all(problems)
    regions = _regions(settings, path)
    return cases, _classes(regions), regions


def _channels(settings, path):
    named = settings.get("channel_names") or settings.get("modality") or {"0": "image"}
    if isinstance(named, list):
        named = dict(enumerate(named))
    if not isinstance(named, dict) or sorted(map(str, named)) != sorted(map(str, range(len(named)))):
        raise CaseError(path, f"expected channels numbered from 0, found {named!r:.80}", WAY_OUT)
    named = {int(index): str(name) for index, name in named.items()}
    return tuple(named[index] for index in range(len(named)))


def _listed(settings, path):
    """Return the entries of nnU-Net 2, which lists no cases: they lie in imagesTr."""
    if isinstance(settings.get("dataset"), dict):
        return [{"case": name, **entry} for name, entry in settings["dataset"].items()]
    folder, ending = path.parent / "imagesTr", str(settings.get("file_ending", ".nii.gz"))
    if not folder.is_dir():
        return []
    images = sorted(image for image in folder.iterdir() if image.name.endswith(f"_0000{ending}"))
    names = [image.name.removesuffix(f"_0000{ending}") for image in images if not image.name.startswith(".")]
    return [{"image": f"imagesTr/{name}{ending}", "label": f"labelsTr/{name}{ending}"} for name in names]


def _case(entry, path, channels, images_only):
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, dict) or not (entry.get("image") or entry.get("images")):
        raise CaseError(path, f'expected an entry with "image" and "label", found {entry!r:.80}', WAY_OUT)
    image, label = entry.get("images") or entry["image"], entry.get("label")
    if isinstance(image, list):
        images = tuple(_inside(name, path) for name in image)
    else:
        images = _files(_inside(image, path), channels, path)
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise CaseError(missing[0], "expected an image, found no file", f"It is named in {path}.")
    mask = None if images_only or label is None else _inside(label, path)
    if mask is not None and not mask.is_file():
        raise CaseError(mask, "expected a mask, found no file", f"It is named in {path}.")
    if len(images) not in (1, len(channels)):
        raise CaseError(images[0], f"expected {len(channels)} channels {channels}, found {len(images)} files", WAY_OUT)
    name = str(entry.get("case") or stem_of(images[0]).removesuffix("_0000"))
    return {"case_id": name, "images": images, "mask": mask, "channel_names": channels}


def _files(image, channels, path):
    """Return the file itself, or the numbered channels of nnU-Net, whether the entry has the number 0000 or not."""
    stem, suffix = stem_of(image).removesuffix("_0000"), suffix_of(image)
    numbered = tuple(image.with_name(f"{stem}_{index:04d}{suffix}") for index in range(len(channels)))
    if image.is_file() and not (image == numbered[0] and all(file.is_file() for file in numbered)):
        return (image,)
    return tuple(confined(file, path.parent) for file in numbered) if numbered[0].is_file() else (image,)


def _inside(name, path):
    if not isinstance(name, str):
        raise CaseError(path, f"expected the name of a file, found {name!r:.80}", WAY_OUT)
    return confined(path.parent / possible_file(name, path), path.parent)


def _regions(settings, path):
    declared = settings.get("labels")
    if not isinstance(declared, dict):
        return {}
    try:
        if all(str(key).lstrip("-").isdigit() for key in declared):
            values = {str(name): (int(value),) for value, name in declared.items()}
        else:
            values = {name: tuple(int(x) for x in _listed_or_one(v)) for name, v in declared.items()}
    except (TypeError, ValueError, OverflowError):
        raise CaseError(path, f"expected labels with whole numbers, found {declared!r:.80}", WAY_OUT) from None
    return {name: labels for name, labels in values.items() if labels != (0,) and name != "ignore"}


def _classes(regions):
    flat = [value for labels in regions.values() for value in labels]
    return (tuple(sorted(regions.values())) or ((1,),)) if len(flat) == len(set(flat)) else None


def _listed_or_one(value):
    return value if isinstance(value, list) else [value]
