"""Many files: each is heard and rendered, and what goes wrong with one is told, while the others go on."""

from collections.abc import Iterator

from fxst.batch.files import Progress
from fxst.batch.plan import plan
from fxst.batch.recipe import FileResult, attempt, recipe_of
from fxst.configs import ApplyConfig

__all__ = ["FileResult", "apply_files"]


def apply_files(config: ApplyConfig, progress: Progress | None = None) -> Iterator[FileResult]:
    """Apply a style, or a parameter table, to files.

    What would go wrong for all files is raised at once and nothing is touched; what goes wrong with one file is
    told in its result, and the others go on. The reference is listened to once.

    Args:
        config: The command.
        progress: Is told how far the work is.

    Returns:
        A result for each file, as it is done: the work goes on while the results are taken.

    Raises:
        AudioError: The reference cannot be read or is silent, or there is no place for an output.
        ModelError: There is no such model, or it is damaged.
        SettingsError: The table or the plan makes no sense.
    """
    jobs = plan(config)
    recipe = recipe_of(config)
    recipe.listen(progress)
    return (attempt(recipe, job, progress) for job in jobs)
