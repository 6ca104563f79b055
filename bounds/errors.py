"""What can go wrong, by name."""


class ProblemError(ValueError):
    """The problem as stated cannot be solved or bounded; the message names the place and the remedy."""


class MethodError(ValueError):
    """This method cannot treat this problem; the message names one that can."""


class CertificateError(ValueError):
    """A certificate does not prove what it claims."""


class BoundsDisagree(AssertionError):
    """A lower bound above a feasible value: a defect of quanterr, never of the input."""
