from glv_core.windows import View, Window, smallest_overlap


def test_window_frames():
    assert list(Window(3, 4).indices) == [3, 4, 5, 6] and Window(3, 4).stop == 7
    assert list(Window(3, 3, 2).indices) == [3, 5, 7] and Window(3, 3, 2).stop == 8
    assert list(Window(8, 4, 1, 10).indices) == [8, 9, 0, 1]
    assert Window(3, 4, 1, 10).is_slice and not Window(8, 4, 1, 10).is_slice and not Window(0, 4, 2).is_slice
    assert Window(5, 1, 3).is_slice and not Window(0, 2, 2).is_slice
    # A window that ends with the loop does not cross its point.
    assert Window(6, 4, 1, 10).is_slice and not Window(6, 4, 1, 10).wraps and Window(7, 4, 1, 10).wraps


def test_where_a_window_lies_in_its_lane():
    assert (Window(3, 4).lane, Window(3, 4).place, Window(3, 4).cells) == (0, 3, 0)
    assert (Window(3, 2, 3, lane=0, place=1).place, Window(1, 2, 3, lane=1, place=0).place) == (1, 0)
    assert (Window(3, 4, 1, 10).cells, Window(0, 2, 4, 6).cells, Window(0, 2, 3, 10).cells) == (10, 3, 10)
    # It follows from the rest, so it makes no other window.
    assert Window(3, 2, 3, lane=0, place=1) == Window(3, 2, 3) and Window(1, 2, 3, lane=1, place=0) == Window(1, 2, 3)


def test_a_view_is_the_window_or_the_first_latent_frame_and_the_window():
    alone, behind = View(Window(3, 4)), View(Window(3, 4), 1)
    assert (list(alone.indices), alone.length, alone.start, alone.is_slice) == ([3, 4, 5, 6], 4, 3, True)
    assert (list(behind.indices), behind.length, behind.start, behind.is_slice) == ([0, 3, 4, 5, 6], 5, 0, False)
    assert list(View(Window(8, 4, 1, 10), 1).indices) == [0, 8, 9, 0, 1] and not View(Window(0, 4, 2)).is_slice
    assert View(Window(3, 4)) == View(Window(3, 4), 0) != behind
    joined, apart = View(Window(3, 4), 1, before=2), View(Window(3, 4), 1, before=1)
    assert (list(joined.indices), joined.length, joined.start, joined.is_slice) == ([2, 3, 4, 5, 6], 5, 2, True)
    assert list(apart.indices) == [1, 3, 4, 5, 6] and not apart.is_slice
    joined, apart = View(Window(3, 4), 1, before=2), View(Window(3, 4), 1, before=1)
    assert (list(joined.indices), joined.length, joined.start, joined.is_slice) == ([2, 3, 4, 5, 6], 5, 2, True)
    assert list(apart.indices) == [1, 3, 4, 5, 6] and not apart.is_slice


def test_where_a_window_is_in_its_lane():
    assert Window(3, 4).place == 3 and Window(0, 4).place == 0 and Window(3, 4, 2, place=1).place == 1
    assert Window(0, 4, 2, place=0).place == 0 and Window(1, 2, 4, 6, 1, 0).place == 0
    assert Window(3, 4).lane == 0 and Window(3, 4).cells == 0
    assert Window(8, 4, 1, 10).cells == 10 and Window(0, 2, 4, 10).cells == 5
    assert Window(3, 4, 1, 10) == Window(3, 4, 1, 10, 2, 1)  # they follow from the rest, and do not count


def test_a_window_that_ends_with_the_loop_does_not_cross_its_point():
    assert not Window(6, 4, 1, 10).wraps and Window(6, 4, 1, 10).is_slice and Window(7, 4, 1, 10).wraps
    assert not Window(6, 4).wraps


def test_window_centres():
    assert Window(3, 4).centre == 4.5
    assert Window(8, 4, 1, 10).centre == 9.5
    assert Window(9, 4, 1, 10).centre == 0.5
    assert Window(0, 3, 4).centre == 4


def test_the_smallest_overlap_counts_lanes_apart_and_goes_round_a_loop():
    assert smallest_overlap([Window(0, 4, 2), Window(1, 4, 2, lane=1, place=0)]) == 0
    loop = [Window(start, 6, 1, 12) for start in (0, 5, 8)]
    assert smallest_overlap(loop) == 1  # 0 to 5, 5 to 8, and 8 to 12
    assert smallest_overlap(loop[1:]) == 0  # 8 to 17, which is 5 of the next round
