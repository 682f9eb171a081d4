"""What a training leaves: its weights, and the point on the way from the base to them that becomes the student."""

from collections.abc import Callable

from pipeline.artifacts import catalog
from pipeline.artifacts.figures import write_history
from pipeline.artifacts.workspace import Workspace
from pipeline.clip.towers import Clip
from pipeline.distillation import interpolation
from pipeline.training.loop import Figures, Trained


def finish(
    end: Clip, trained: Trained, validate: Callable[[Clip], Figures], ws: Workspace, *, base: Clip | None, keep: float
) -> Figures:
    """Save the weights of the best epoch (`end_point`), then the chosen point's, the history and all points.

    Args:
        end: holds the weights of the best epoch; afterwards the chosen point's.
        trained: the history, and the best epoch.
        ws: whose student becomes an open_clip local directory.
        base: where the way begins; None for a student with its own towers, which is taken as it is.
        keep: share of the base's zero-shot accuracy that the chosen point keeps.

    Returns:
        figures of the best epoch and, over them, of the chosen point with its `alpha`.
    """
    end.save(ws.path(catalog.END_POINT))
    chosen: Figures = {"alpha": 1.0}
    points: list[Figures] = []
    if base is not None:
        weights = base.model.state_dict()
        chosen, points = interpolation.choose(end.model, weights, lambda: validate(end), validate(base), keep)
    end.save(ws.student)
    write_history(ws.path(catalog.INTERPOLATION), points)
    write_history(ws.path(catalog.STUDENT_HISTORY), trained.history)
    return {**trained.best, **chosen}
