"""What MLflow is told of a run: a stand-in notes it, for MLflow is no dependency."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from finetune import FineTuner, fine_tune
from finetune.api import log_to_mlflow
from finetune.cli import app
from finetune.exceptions import ArgumentError

TINY = {"preprocess": "tf", "head_epochs": 1, "epochs": 2, "refit": 0}


class StandIn:
    """Takes what MLflow takes, in its own form, and keeps it by run."""

    entities = SimpleNamespace(Metric=lambda key, value, timestamp, step: (key, value, step))

    def __init__(self):
        self.runs, self.open, self.experiment = {}, [], None

    def set_experiment(self, name):
        self.experiment = name

    @contextmanager
    def start_run(self, run_name, nested=False):
        assert bool(self.open) == nested
        self.runs[run_name] = {"params": {}, "metrics": {}, "epochs": [], "tags": {}, "files": []}
        self.open.append(run_name)
        yield SimpleNamespace(info=SimpleNamespace(run_id=run_name))
        self.open.pop()

    def log_params(self, values):
        self.runs[self.open[-1]]["params"] |= values

    def log_metrics(self, values):
        self.runs[self.open[-1]]["metrics"] |= values

    def log_metric(self, name, value):
        self.log_metrics({name: value})

    def set_tag(self, name, value):
        self.runs[self.open[-1]]["tags"][name] = value

    def log_artifact(self, path):
        self.runs[self.open[-1]]["files"].append(path.rsplit("/", 1)[-1])

    def MlflowClient(self):
        return SimpleNamespace(
            log_batch=lambda run_id, metrics: self.runs[run_id]["epochs"].extend(metrics)
        )


@pytest.fixture
def mlflow(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    return stand_in


@pytest.fixture(scope="module")
def result(make_backbone, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "shoes"
    return fine_tune(data, backbone=make_backbone(), freeze_depth=10, out=out, verbose=0, **TINY)


def test_a_run_is_logged_with_settings_epochs_scores_and_files(result, mlflow):
    log_to_mlflow(result, "shoes")
    assert mlflow.experiment == "shoes"
    run = mlflow.runs["shoes"]
    assert run["params"]["freeze_depth"] == "10" and run["params"]["schedule"] == "cosine"
    assert run["metrics"]["test_accuracy"] == result.test.accuracy
    losses = [(value, step) for name, value, step in run["epochs"] if name == "val_loss"]
    assert losses == [(row["val_loss"], step) for step, row in enumerate(result.history, start=1)]
    assert {"model.keras", "report.html", "config.toml", "metrics.json"} <= {*run["files"]}


def test_each_trial_of_a_search_is_a_run_within(make_backbone, data, tmp_path, mlflow):
    tuner = FineTuner(make_backbone(), freeze_depth=[7, 10], learning_rate=1e-3, **TINY)
    found = tuner.search(data, strategy="grid", out=tmp_path / "study", verbose=0)
    log_to_mlflow(found, "shoes")
    assert [*mlflow.runs] == ["study", *(row["id"] for row in found.trials)]
    for row in found.trials:
        run = mlflow.runs[row["id"]]
        assert run["params"] == {"freeze_depth": str(row["hyperparameters"]["freeze_depth"])}
        assert run["metrics"] == {found.monitor: row["score"]}
        assert run["tags"] == {"status": "completed"}
        assert max(step for _, _, step in run["epochs"]) == 3
    assert "best.toml" in mlflow.runs["study"]["files"]


def test_a_server_that_is_gone_costs_a_warning_and_not_the_run(result, mlflow, caplog):
    def gone(name):
        raise ConnectionError("no answer")

    mlflow.set_experiment = gone
    with caplog.at_level("WARNING", "finetune"):
        log_to_mlflow(result, "shoes")
    assert caplog.messages == [
        f"The run in {result.folder} is whole, but was not logged to MLflow: ConnectionError: "
        "no answer"
    ]


def test_without_mlflow_nothing_is_trained_first(result, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(ArgumentError, match=r"Run `pip install mlflow-skinny`"):
        log_to_mlflow(result, "shoes")
    done = CliRunner().invoke(app, ["fit", str(tmp_path), "--mlflow", "shoes"])
    assert done.exit_code == 1
    assert "Expected MLflow to be installed for --mlflow." in done.stderr
