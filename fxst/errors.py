"""What can go wrong, in words for the person at the keyboard."""

__all__ = ["AudioError", "FxstError", "ModelError", "SettingsError", "UndeclaredError"]


class FxstError(Exception):
    """A problem that the user can mend; the message is one sentence naming the file and the remedy."""


class AudioError(FxstError):
    """A sound file is missing, unreadable, damaged, or cannot be written."""


class ModelError(FxstError):
    """A model or checkpoint is missing, damaged, or made for something else."""


class SettingsError(FxstError):
    """A parameter table, option or specification does not make sense."""


class UndeclaredError(SettingsError):
    """A chain has an effect that this program does not know, for it is the user's own."""
