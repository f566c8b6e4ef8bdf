import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.augmentation.deformation import Deformation

SHAPE = (9, 8, 7)
NO_FLIP = (False, False, False)
TURN = {"matrix": tf.constant([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), "shift": tf.constant([1.0, 0, -1])}
BEND = tf.constant(np.random.default_rng(0).uniform(-0.6, 0.6, (3, 5, 5, 5)).astype(np.float32))


def grid():
    return np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))


def test_nothing_drawn_reads_every_voxel_where_it_is():
    assert np.array_equal(Deformation(SHAPE, NO_FLIP).points(SHAPE, (0, 0, 0)), grid())


def test_a_flip_reads_from_the_other_end():
    points = Deformation(SHAPE, (True, False, True)).points(SHAPE, (0, 0, 0))
    x, y, z = grid()
    assert np.array_equal(points, [8 - x, y, 6 - z])


def test_a_matrix_turns_about_the_center_and_then_shifts():
    points, center = Deformation(SHAPE, NO_FLIP, **TURN).points(SHAPE, (0, 0, 0)), (np.array(SHAPE) - 1) / 2
    away = np.moveaxis(grid(), 0, -1) - center
    expected = away @ TURN["matrix"].numpy().T + center + TURN["shift"].numpy()
    assert np.allclose(np.moveaxis(points.numpy(), 0, -1), expected, atol=1e-5)


@pytest.mark.parametrize("bend", [None, BEND])
def test_a_box_reads_what_the_whole_reads_there(bend):
    deformation = Deformation(SHAPE, (True, False, False), **TURN, bend=bend)
    whole, part = deformation.points(SHAPE, (0, 0, 0)), deformation.points((4, 3, 2), (3, 2, 1))
    assert np.allclose(part, whole[:, 3:7, 2:5, 1:3], atol=1e-5)


def test_a_bend_that_was_not_drawn_moves_nothing():
    bent, straight = (Deformation(SHAPE, NO_FLIP, bend=BEND, bent=tf.constant(each)) for each in (True, False))
    assert np.array_equal(straight.points(SHAPE, (0, 0, 0)), grid())
    assert np.abs(bent.points(SHAPE, (0, 0, 0)) - grid()).max() > 0.2


@pytest.mark.parametrize("bend", [None, BEND])
def test_the_place_of_a_point_is_the_voxel_that_reads_it(bend):
    deformation = Deformation(SHAPE, (True, False, False), **TURN, bend=bend)
    read = deformation.points(SHAPE, (0, 0, 0)).numpy()
    voxel = (5, 4, 3)
    place = deformation.place_of(tf.constant(read[:, *voxel]))
    assert np.linalg.norm(place - voxel) < (1e-4 if bend is None else 1.0)
