"""The one error that is meant for a person: a sentence that says what is wrong and what to do."""


class LabError(Exception):
    """Something the user can put right. The message is one sentence; the command line prints it and exits with 2."""
