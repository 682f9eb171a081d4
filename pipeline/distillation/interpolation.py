"""Weight-space interpolation between base and student (WiSE-FT, Wortsman et al. 2022): the whole trade-off, one point.

theta(a) = (1 - a) theta_base + a theta_student. Free at inference; `a` is chosen on validation data.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from pipeline.distillation.best_epoch import retrieval
from pipeline.machine.progress import track
from pipeline.training.loop import Figures

ERRORS = 1.645
"""Standard errors that an accuracy is lowered by before it is said to be kept: the lower end of its one-sided 95 %
interval. Of many points the best is likely to be one whose accuracy was overestimated."""

ALPHAS = tuple(i / 10 for i in range(1, 11))
"""Points between base and student, the student's end included."""

HALVINGS = 3
"""How often the way from the last of them that keeps enough to the next one is halved: to eightieths."""


def retained(figures: Figures, start: Figures, errors: float = 0.0) -> float:
    """The smallest share of the start's zero-shot accuracies (seen, unseen) that is kept; 1 without zero-shot data.

    Args:
        errors: how many standard errors of the accuracies are taken off first.
    """
    accuracies = (name for name in start if "zeroshot" in name and name.endswith("_top1") and start[name] > 0)
    return min(((figures[k] - errors * figures.get(f"{k}_error", 0.0)) / start[k] for k in accuracies), default=1.0)


def mix(base: Mapping[str, Tensor], student: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) base + alpha student, tensor by tensor; tensors that are not floating point are the student's."""
    return {
        name: base[name].lerp(value, alpha) if value.is_floating_point() else value for name, value in student.items()
    }


def choose(
    model: nn.Module, base: Mapping[str, Tensor], validate: Callable[[], Figures], start: Figures, keep: float
) -> tuple[Figures, list[Figures]]:
    """Walk from base to student and leave `model` at the point that retrieves best while it keeps zero-shot.

    Beyond the last of `ALPHAS` that keeps enough (or the base) the way to the next one is halved, `HALVINGS` times.

    Args:
        model: holds the student's weights; afterwards the chosen point's.
        keep: share of the base's zero-shot accuracy that the lower end of its one-sided 95 % interval has to keep. If
            it does so at no point, the point where it is highest is taken.

    Returns:
        the chosen point's figures and those of all points, each with its `alpha`.
    """
    student = {name: value.clone() for name, value in model.state_dict().items()}
    points: list[Figures] = []

    def keeps_enough(alpha: float) -> bool:
        model.load_state_dict(mix(base, student, alpha))
        points.append({"alpha": alpha, **validate()})
        return retained(points[-1], start, errors=ERRORS) >= keep

    enough = [alpha for alpha in track(ALPHAS, "interpolate", unit="points") if keeps_enough(alpha)]
    last = max(enough, default=0.0)
    if beyond := min((alpha for alpha in ALPHAS if alpha > last), default=None):
        for _ in range(HALVINGS):
            middle = (last + beyond) / 2
            if keeps_enough(middle):
                enough.append(middle)
                last = middle
            else:
                beyond = middle
    if enough:
        chosen = max((point for point in points if point["alpha"] in enough), key=retrieval)
    else:
        chosen = max(points, key=lambda point: retained(point, start, errors=ERRORS))
    model.load_state_dict(mix(base, student, chosen["alpha"]))
    points.sort(key=lambda point: point["alpha"])
    return chosen, [{"alpha": 0.0, **start}, *points]
