import numpy as np

from mcc_keras.viewing.crops import Box, box_around, crop
from mcc_keras.viewing.scene import read_scene
from mcc_keras.volumes import Volume

OBLIQUE = np.array([[1.9, 0.2, 0.3, -10], [-0.2, 1.9, 0.1, 20], [-0.3, -0.1, 4.0, 5], [0, 0, 0, 1.0]])


def a_scene(*corners):
    scan = Volume(np.arange(10 * 11 * 12).reshape(10, 11, 12), OBLIQUE)
    masks = []
    for corner in corners:
        masks.append(Volume(np.zeros(scan.shape, np.uint8), OBLIQUE))
        masks[-1].array[corner] = 1
    return read_scene(scan, masks)


def test_the_box_holds_all_masks_and_the_margin_in_mm_within_the_scan():
    scene = a_scene((2, 3, 4), (4, 3, 11))
    assert box_around(scene, 0) == Box((2, 3, 4), (5, 4, 12))
    # 4 mm are three voxels of 1.93 mm (rounded up) in plane, and one of 4.01 mm.
    assert box_around(scene, 4) == Box((0, 0, 3), (8, 7, 12))


def test_there_is_no_box_without_a_voxel_of_a_mask():
    assert box_around(a_scene(), 5) is None
    assert box_around(read_scene(np.zeros((4, 4, 4)), [np.zeros((4, 4, 4), int)]), 5) is None


def test_voxels_of_a_crop_stay_where_they_are_in_space():
    scene = a_scene((2, 3, 4))
    part = crop(scene, Box((1, 2, 3), (6, 7, 8)))
    assert part.scan.array[0, 0, 0] == scene.scan.array[1, 2, 3]
    assert part.masks[0].classes[1, 1, 1] == 1 and part.masks[0].classes.sum() == 1
    for voxel in np.ndindex(5, 5, 5):
        whole = scene.scan.affine @ [*np.add(voxel, (1, 2, 3)), 1]
        assert np.allclose(part.scan.affine @ [*voxel, 1], whole, rtol=0, atol=1e-12)
