"""Every error that a user of SeeFood102 can cause. All derive from `SeeFoodError`; each message names the input,
what was wrong with it, and what to do."""


class SeeFoodError(Exception):
    """Base class: its message is one sentence or two, written for a person."""


class SettingsError(SeeFoodError):
    """An environment variable has a value that it cannot have."""


class PhotoError(SeeFoodError):
    """A photo cannot be read: not an image, damaged, or over a limit. No path of the server is in its message."""


class ModelError(SeeFoodError):
    """A model file is missing, or is no model of SeeFood102."""


class DataError(SeeFoodError):
    """A source of training data does not exist, has no labels, or contradicts another source."""


class FeedbackError(SeeFoodError):
    """Stored feedback is not there, cannot be read, or holds nothing to learn from."""


class WeightsError(SeeFoodError):
    """Pre-trained weights do not exist or do not fit the network."""


class ExportError(SeeFoodError):
    """An export was stopped: the exported file would not be the trained network."""


class OnlineError(SeeFoodError):
    """A run cannot be sent to the Hugging Face Hub or to a bucket: a wrong address, no right to write, no network."""


class BulkError(SeeFoodError):
    """Photos cannot be listed, answers cannot be kept, or some photos were left without an answer."""
