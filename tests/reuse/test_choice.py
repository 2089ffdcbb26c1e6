"""Which cuts are kept: by cost, within the room that there is."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.reuse.choice import DISK, MEMORY, PIXELS, Demand, Option, Prices, choose

PRICES = Prices(multiply_add=1e-11, load=1e-9, disk_load=2e-9, disk_write=4e-9)
DEMAND = Demand(kept=1000, loaded=1000, epochs=10)
WHOLE = Option(PIXELS, PIXELS, 150_528, 10**9, 10**9)


def cut(point, row_bytes, again, place=MEMORY, **options):
    return Option(point, place, row_bytes, again, 10**9, **options)


def test_running_layers_again_is_weighed_against_loading_more_bytes():
    # 10 ms a GMAC and 1 ms a MB: to load 2 MB more takes 2 ms, to run 0.1 GMAC again 1 ms.
    small, large = cut("small", 10**6, 10**8), cut("large", 3 * 10**6, 0)
    room = {MEMORY: 10**12}
    assert choose({5: [small, large, WHOLE]}, DEMAND, PRICES, room)[5] is small
    dear = Prices(multiply_add=1e-10, load=1e-9, disk_load=2e-9, disk_write=4e-9)
    assert choose({5: [small, large, WHOLE]}, DEMAND, dear, room)[5] is large


def test_where_the_best_does_not_fit_the_next_best_is_taken_and_never_the_pixels_at_once():
    best, next_best, least = (
        cut(*of) for of in (("a", 10**6, 0), ("b", 10**5, 10**8), ("c", 10**4, 5 * 10**8))
    )
    options = {5: [best, next_best, least, WHOLE]}
    chosen = [
        choose(options, DEMAND, PRICES, {MEMORY: room})[5] for room in (10**9, 10**8, 10**7, 10**6)
    ]
    assert chosen == [best, next_best, least, WHOLE]


def test_what_memory_has_no_room_for_goes_to_disk_where_that_pays():
    held, stored = cut("a", 10**6, 0), cut("a", 10**6, 0, DISK)
    options = {5: [held, stored, WHOLE]}
    assert choose(options, DEMAND, PRICES, {MEMORY: 10**9, DISK: 10**10})[5] is held
    assert choose(options, DEMAND, PRICES, {MEMORY: 10**8, DISK: 10**10})[5] is stored
    slow = Prices(multiply_add=1e-11, load=1e-9, disk_load=1e-7, disk_write=1e-7)
    assert choose(options, DEMAND, slow, {MEMORY: 10**8, DISK: 10**10})[5] is WHOLE


def test_writing_pays_only_where_enough_epochs_are_to_come():
    stored = cut("a", 10**6, 0, DISK)
    dear = Prices(multiply_add=1e-11, load=1e-9, disk_load=1e-9, disk_write=1e-7)
    room = {MEMORY: 0, DISK: 10**10}
    for epochs, expected in ((5, WHOLE), (50, stored)):
        demand = Demand(kept=1000, loaded=1000, epochs=epochs)
        assert choose({5: [stored, WHOLE]}, demand, dear, room)[5] is expected


def test_depths_that_share_a_cut_pay_for_its_room_once():
    shared = cut("a", 10**6, 0)
    options = {5: [shared, WHOLE], 6: [shared, WHOLE]}
    assert choose(options, DEMAND, PRICES, {MEMORY: 10**9}) == {5: shared, 6: shared}


def test_the_depth_that_loses_least_gives_up_its_room():
    costly, cheap = cut("a", 10**6, 0), cut("b", 10**6, 0)
    options = {5: [costly, WHOLE], 6: [cheap, cut("c", 10**5, 10**6), WHOLE]}
    chosen = choose(options, DEMAND, PRICES, {MEMORY: 15 * 10**8})
    assert [option.point for option in chosen.values()] == ["a", "c"]


def test_what_is_kept_already_takes_no_room():
    there = cut("a", 10**6, 10**7, kept=True)
    assert choose({5: [there, WHOLE]}, DEMAND, PRICES, {MEMORY: 0})[5] is there


def test_another_pass_over_the_images_has_to_pay_within_the_epochs_to_come():
    # To have "deeper" takes 10 ms an image; what it spares, 0.2 GMAC, takes 2 ms an epoch.
    there, deeper = cut("there", 10**5, 2 * 10**8, kept=True), cut("deeper", 10**5, 0)
    for epochs, expected in ((4, there), (6, deeper)):
        demand = Demand(kept=1000, loaded=1000, epochs=epochs)
        assert choose({5: [there, deeper, WHOLE]}, demand, PRICES, {MEMORY: 10**9})[5] is expected


def test_a_pass_that_begins_at_kept_features_pays_within_fewer_epochs():
    there = cut("there", 10**5, 2 * 10**8, kept=True)
    anew, onward = cut("deeper", 10**5, 0), cut("deeper", 10**5, 0, spared=8 * 10**8)
    # What it takes to have "deeper" is 10 ms an image, or 2 ms; it spares 2 ms an epoch.
    for epochs, deeper, expected in ((4, anew, there), (4, onward, onward), (1, onward, there)):
        demand = Demand(kept=1000, loaded=900, epochs=epochs)
        assert choose({5: [there, deeper, WHOLE]}, demand, PRICES, {MEMORY: 10**9})[5] is expected
    # To begin it takes time too, of which few images spare too little.
    slow = replace(PRICES, another_pass=2.0)
    for images, expected in ((200, there), (2000, onward)):
        demand = Demand(kept=images, loaded=images, epochs=4)
        assert choose({5: [there, onward, WHOLE]}, demand, slow, {MEMORY: 10**9})[5] is expected


@pytest.mark.parametrize(("again", "frozen", "share"), [(0, 0, 0.0), (1, 4, 0.25), (4, 4, 1.0)])
def test_the_share_that_is_run_again(again, frozen, share):
    assert Option("a", MEMORY, 1, again, frozen).share == share


@pytest.mark.parametrize(
    ("place", "options", "size", "seconds"),
    [
        # 20 epochs of 50 rows: 30 multiply-adds again, 100 bytes from memory; 70 once for 80 rows.
        (MEMORY, {}, 8000, 20 * 50 * (30 * 1 + 100 * 2) + 80 * 70),
        # From disk, and 8000 bytes written to it.
        (DISK, {}, 8000, 20 * 50 * (30 * 1 + 100 * 3) + 80 * 70 + 8000 * 5),
        (MEMORY, {"kept": True}, 0, 20 * 50 * (30 * 1 + 100 * 2)),
        (DISK, {"kept": True}, 0, 20 * 50 * (30 * 1 + 100 * 3)),
        # A pass that begins at other features has less to do, and takes a while to begin.
        (MEMORY, {"spared": 60}, 8000, 20 * 50 * (30 * 1 + 100 * 2) + 80 * 10 + 1000),
        (PIXELS, {}, 0, 20 * 50 * (30 * 1 + 100 * 2)),
    ],
)
def test_what_an_option_costs(place, options, size, seconds):
    prices = Prices(multiply_add=1, load=2, disk_load=3, disk_write=5, another_pass=1000)
    demand = Demand(kept=80, loaded=50, epochs=20)
    option = Option("a", place, 100, again=30, frozen=100, **options)
    assert (option.size(demand), option.seconds(demand, prices)) == (size, seconds)


POINTS = st.tuples(
    st.sampled_from("abcd"), st.sampled_from([MEMORY, DISK]), st.integers(1, 50), st.integers(0, 9)
)


@given(
    st.lists(st.lists(POINTS, max_size=3), min_size=1, max_size=3),
    st.integers(0, 60_000),
    st.integers(0, 60_000),
)
def test_the_choice_fits_and_no_single_change_that_fits_is_quicker(drawn, memory, disk):
    sizes = {}  # a point has one size
    whole = Option(PIXELS, PIXELS, 1, 10, 10)
    options = {
        depth: [
            *(
                Option(point, place, sizes.setdefault(point, size), again, 10)
                for point, place, size, again in of_depth
            ),
            whole,
        ]
        for depth, of_depth in enumerate(drawn)
    }
    room = {MEMORY: memory, DISK: disk}
    prices = Prices(multiply_add=1.0, load=0.1, disk_load=0.2, disk_write=0.01)

    def fits(plan):
        taken = {(option.point, option.place): option.size(DEMAND) for option in plan.values()}
        return all(
            sum(size for (_, at), size in taken.items() if at == place) <= room[place]
            for place in room
        )

    plan = choose(options, DEMAND, prices, room)
    assert fits(plan)
    for depth, option in itertools.chain(*([(d, o) for o in of] for d, of in options.items())):
        if fits({**plan, depth: option}):
            assert plan[depth].seconds(DEMAND, prices) <= option.seconds(DEMAND, prices)
