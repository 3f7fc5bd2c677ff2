from dataclasses import replace

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.spec import Recipe
from tests.training import toys
from training.task import Task, TrainingError
from training.train import train


class Recorder(lightning.Callback):
    """Writes down what happens to learning rates and steps."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.decays: dict[int, set[float]] = {}

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: object, batch_idx: int
    ) -> None:
        optimizer = trainer.optimizers[0]
        self.rates.append(optimizer.param_groups[0]["lr"])
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self.decays.setdefault(parameter.ndim, set()).add(group["weight_decay"])


def test_the_learning_rate_makes_one_cycle_over_all_steps() -> None:
    recorder = Recorder()
    train(toys.spec(), replace(toys.RECIPE, epochs=4), device="cpu", callbacks=[recorder])
    assert len(recorder.rates) == 4 * (90 // 16)
    peak = recorder.rates.index(max(recorder.rates))
    assert max(recorder.rates) == pytest.approx(toys.RECIPE.learning_rate, rel=0.05)
    assert recorder.rates[0] < recorder.rates[peak] / 20
    assert recorder.rates[-1] < recorder.rates[0]
    assert peak == pytest.approx(len(recorder.rates) / 4, abs=1)


def test_only_matrices_decay() -> None:
    recorder = Recorder()
    train(toys.spec(), toys.RECIPE, device="cpu", callbacks=[recorder])
    assert recorder.decays == {1: {0.0}, 2: {toys.RECIPE.weight_decay}}


@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 90), (1, 1000), (2, 64), (1, 45)])
def test_a_run_of_a_step_or_two_has_a_schedule_too(epochs: int, batch_size: int) -> None:
    recipe = replace(toys.RECIPE, epochs=epochs, batch_size=batch_size)
    assert train(toys.spec(), recipe, device="cpu").epoch >= 1


def test_the_loss_is_smoothed_and_taken_on_augmented_samples() -> None:
    seen: list[Tensor] = []

    def brighter(inputs: object) -> dict[str, Tensor]:
        assert isinstance(inputs, dict)
        seen.append(inputs["image"])
        return {"image": inputs["image"].float() + 50}

    task = Task(replace(toys.spec(), augment=brighter), toys.RECIPE)
    task.network.eval()  # so that the same batch gives the same logits twice
    image, target = toys.Rows(8, seed=0).images, toys.Rows(8, seed=0).labels
    loss = task.loss_of(({"image": image}, target))
    expected = functional.cross_entropy(task.network(image.float() + 50), target, label_smoothing=0.1)
    assert torch.equal(seen[0], image)
    torch.testing.assert_close(loss, expected)  # a mean of losses may be summed in another order


def test_a_model_without_augmentation_is_trained_on_its_samples() -> None:
    task = Task(replace(toys.spec(), augment=None), replace(toys.RECIPE, label_smoothing=0.0))
    task.network.eval()
    rows = toys.Rows(8, seed=0)
    loss = task.loss_of(({"image": rows.images}, rows.labels))
    torch.testing.assert_close(loss, functional.cross_entropy(task.network(rows.images), rows.labels))


class Exploding(toys.Network):
    """Gives NaN at its `fuse`-th training batch."""

    def __init__(self, fuse: int) -> None:
        super().__init__()
        self.fuse = fuse

    def forward(self, image: Tensor) -> Tensor:
        self.fuse -= self.training
        return super().forward(image) * (float("nan") if self.training and self.fuse == 0 else 1.0)


class Noting(toys.Rows):
    """Writes down which samples are asked for."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        self.asked.append(index)
        return super().__getitem__(index)


def test_a_loss_that_is_no_number_stops_training_where_it_is() -> None:
    rows = Noting(90, seed=1)
    splits = replace(toys.datasets(), train=rows)
    spec = replace(toys.spec(lambda: Exploding(fuse=5 + 5 + 3)), datasets=lambda data_dir: splits)  # five steps an epoch
    with pytest.raises(TrainingError) as caught:
        train(spec, toys.RECIPE, device="cpu")
    samples = ", ".join(map(str, rows.asked[-16:-8]))  # of the 16 of the last batch
    start = f"epoch 3, step 3 (samples {samples}, …): the loss is nan; a learning rate below 0.05 may help"
    assert str(caught.value) == start


def test_a_learning_rate_far_too_high_is_told() -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf); a learning rate below 1e"):
        train(toys.spec(), Recipe(epochs=20, batch_size=16, learning_rate=1e30, weight_decay=1.0), device="cpu")


class Poisoned(toys.Network):
    """Is fine in training, and gives NaN in evaluation."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * (1.0 if self.training else float("nan"))


def test_a_validation_that_is_no_number_stops_training() -> None:
    with pytest.raises(TrainingError, match="validation after epoch 1: the loss is nan"):
        train(toys.spec(Poisoned), toys.RECIPE, device="cpu")


class Fixed(nn.Module):
    """Answers with the target's own class except for a few known rows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        brightest = image.float().mean(2)[:, : toys.CLASSES]
        return self.scale * brightest


def test_validation_scores_are_those_of_the_whole_split() -> None:
    rows = toys.datasets().validation
    assert isinstance(rows, toys.Rows)
    recipe = replace(toys.RECIPE, epochs=1, learning_rate=1e-12)
    trained = train(toys.spec(Fixed), recipe, device="cpu")
    with torch.inference_mode():
        logits = Fixed()(rows.images)
    assert trained.validation["accuracy"] == pytest.approx(float((logits.argmax(1) == rows.labels).float().mean()))
    assert trained.validation["loss"] == pytest.approx(float(functional.cross_entropy(logits, rows.labels)), rel=1e-4)
