"""Ray searches whose driver or node is lost."""

import threading
import time
from pathlib import Path

import pytest

from extras import require
from faults.victim import Victim
from finetune.search.study import read_trials

require("ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def ended(folder: Path) -> int:
    if not (folder / "study.json").exists():
        return 0
    return sum(step.ended for trial in read_trials(folder) for step in trial.steps)


def test_search_goes_on_when_its_driver_is_killed(make_victim, timed_search):
    whole, _ = timed_search("grid")
    victim = make_victim("killed", strategy="grid", workers=2)
    process = victim.start()
    wait_until(lambda: ended(victim.folder) >= 2)
    process.kill()
    process.join()
    victim.note()
    assert 2 <= ended(victim.folder) < 6
    victim.finish()
    victim.note()
    assert victim.board() == whole.board()


def test_search_is_complete_though_one_of_two_nodes_is_removed(make_victim, timed_search):
    from ray.cluster_utils import Cluster

    whole, _ = timed_search("grid")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        victim: Victim = make_victim(
            "nodes", strategy="grid", workers=2, ray_address=cluster.address
        )
        process = victim.start()

        def remove():
            wait_until(lambda: ended(victim.folder) >= 2)
            cluster.remove_node(node, allow_graceful=False)

        remover = threading.Thread(target=remove)
        remover.start()
        process.join(300)
        remover.join()
        assert process.exitcode == 0
        assert victim.board() == whole.board()
    finally:
        cluster.shutdown()
