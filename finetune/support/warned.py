"""What people should know of how something went: a warning now, and a line in what is written."""

import logging

log = logging.getLogger("finetune")


class Remarks(list[str]):
    """Sentences, in the order in which they were noted; each is logged as a warning, too.

    Example:
        >>> remarks = Remarks()
        >>> remarks.note("Not cross-validated: it was stopped.")
        >>> remarks
        ['Not cross-validated: it was stopped.']
    """

    def note(self, sentence: str) -> None:
        """Say it now, and remember it for whoever looks later."""
        log.warning("%s", sentence)
        self.append(sentence)
