"""The queue: every block once, in tasks that last."""

from collections import Counter

import pytest

from pipeline import Campaign, Store
from pipeline.fanout.queue import Queue
from pipeline.fanout.task import TaskResult


def test_hands_out_every_block_once(tiny, tmp_path):
    campaign = Campaign.from_tables(tiny)
    missing = [(configuration, [0, 1]) for configuration in campaign.configurations]
    queue, seen = Queue(Store(tmp_path), missing, threads=2), []
    while (task := queue.next()) is not None:
        seen += [block.key for block in task.blocks]
        queue.done(task, TaskResult(len(task.blocks), 3 * len(task.blocks), 0, 0.01))
    assert sorted(seen) == sorted(b.key for b in campaign.blocks())


def test_sizes_tasks_by_what_blocks_cost_and_starts_with_the_dear_ones(tiny, tmp_path):
    campaign = Campaign.from_tables(tiny)
    missing = [(configuration, list(range(10_000))) for configuration in campaign.configurations]
    queue = Queue(Store(tmp_path), missing, threads=2)
    cost = {"svd": 1.0, "oracle": 0.01}
    for _ in range(2):
        task = queue.next()
        assert len(task.blocks) == 1
        queue.done(task, TaskResult(1, 3, 0, cost[task.label]))
    task = queue.next()
    assert task.label == "svd"
    assert len(task.blocks) == 10


def test_solvers_take_turns_until_it_is_known_what_they_cost(tiny, tmp_path):
    missing = [
        (configuration, list(range(50)))
        for configuration in Campaign.from_tables(tiny).configurations
    ]
    queue = Queue(Store(tmp_path), missing, threads=2)
    first = [queue.next() for _ in range(8)]
    assert Counter(task.label for task in first) == {"svd": 4, "oracle": 4}
    queue.done(first[0], TaskResult(1, 3, 0, 1.0))
    assert {queue.next().label for _ in range(4)} == {"oracle"}
    queue.done(first[1], TaskResult(1, 3, 0, 0.01))
    assert {queue.next().label for _ in range(4)} == {"svd"}


def test_joins_points_where_each_has_little_to_do(tiny, tmp_path):
    del tiny["scenario"]["sparsity"]
    tiny["sweep"] = {"snr_db": list(range(300)), "sparsity": [1, 2]}
    missing = [
        (configuration, [0, 1]) for configuration in Campaign.from_tables(tiny).configurations
    ]
    queue, tasks, seen = Queue(Store(tmp_path), missing, threads=2), 0, Counter()
    while (task := queue.next()) is not None:
        assert {block.configuration.label for block in task.blocks} == {task.label}
        seen.update(block.key for block in task.blocks)
        tasks, blocks = tasks + 1, len(task.blocks)
        queue.done(task, TaskResult(blocks, 3 * blocks, 0, 0.05 * blocks))
    assert len(seen) == 2400
    assert set(seen.values()) == {1}
    assert tasks < 150


def test_time_left_is_reckoned_from_what_each_solver_costs(tiny, tmp_path):
    """Dear solvers go first, so cells per second would be far off."""
    missing = [
        (configuration, list(range(50)))
        for configuration in Campaign.from_tables(tiny).configurations
    ]
    queue, cost = Queue(Store(tmp_path), missing, threads=2), {"svd": 3.0, "oracle": 0.01}
    for known in (0, 1, 2):
        assert (queue.seconds_left() is None) == (known < 2)
        task = queue.next()
        queue.done(task, TaskResult(1, 3, 0, cost[task.label]))
    assert queue.seconds_left() == pytest.approx((98 * 3.0 + 99 * 0.01) / 2)
    on_its_way = queue.next()
    assert queue.seconds_left() == pytest.approx((98 * 3.0 + 99 * 0.01) / 2)
    queue.threads = {"cpu": 4}
    queue.done(on_its_way, TaskResult(1, 3, 0, 3.0))
    assert queue.seconds_left() == pytest.approx((97 * 3.0 + 99 * 0.01) / 4)
    queue.stop("svd")
    assert queue.seconds_left() == pytest.approx(99 * 0.01 / 4)
