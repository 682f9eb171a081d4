import pytest
import torch
from tiny_training import FIGURES, complete, copy_of, numbered, pairs, run, scored, student, training

from pipeline.distillation.train import train


def test_the_epoch_that_retrieves_best_both_ways_is_taken():
    made, states = student(), []
    scores = iter([(0.9, 0.9, 0.9), (0.3, 0.3, 0.9), (0.2, 0.5, 0.1), (0.5, 0.1, 0.9)])

    def validate(clip):
        states.append(clip.weights)
        text_to_image, image_to_text, top1 = next(scores)
        return {
            "val_text_to_image_recall@1": text_to_image,
            "val_image_to_text_recall@1": image_to_text,
            "val_zeroshot_top1": top1,
        }

    data = pairs([[c] for c in numbered(8)])
    assert train(made, data, validate, training("contrastive", epochs=3), device="cpu").best_epoch == 2
    assert made.finished().weights == states[2]
    assert len(set(states)) == 4


@pytest.mark.parametrize(
    ("patience", "epochs", "best"), [(0, [0, 1, 2, 3, 4], 4), (1, [0, 1, 2], 1), (2, [0, 1, 2, 3], 1)]
)
def test_training_stops_after_so_many_epochs_without_a_better_one(patience, epochs, best):
    how = training("contrastive", epochs=4, patience=patience)
    result = run(student(), complete("contrastive", 4), how, scored(0.1, 0.5, 0.4, 0.5, 0.6))
    assert [row["epoch"] for row in result.history] == epochs
    assert result.best_epoch == best


def test_the_average_of_the_weights_is_validated_and_is_the_student():
    data, states = complete("contrastive", 4), []
    plain = student()
    run(plain, data, training("contrastive", epochs=3), lambda clip: states.append(copy_of(clip)) or FIGURES)
    averaged, found = student(), []
    validate = scored(0, 0.1, 0.2, 0.3)
    run(
        averaged, data, training("contrastive", epochs=3, ema_decay=0.75),
        lambda clip: found.append(copy_of(clip)) or validate(clip),
    )  # fmt: skip
    # One step an epoch. The average starts as the first step's weights.
    wanted = states[1]
    for state, got in zip(states[1:], found[1:], strict=True):
        wanted = {name: 0.75 * value + 0.25 * state[name] for name, value in wanted.items()}
        for name, value in wanted.items():
            torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6)
    name = "visual.conv1.weight"
    assert not torch.allclose(found[3][name], states[3][name])
    assert torch.equal(averaged.finished().model.state_dict()[name], found[3][name])
