"""What can go wrong in quanterr, by name; every message names the place and the remedy."""


class QuanterrError(ValueError):
    """Base of all errors about what the caller passed in."""


class LayerError(QuanterrError):
    """A layer cannot be captured or described."""


class InputError(QuanterrError):
    """Calibration inputs, a model specification or a parameter cannot be used."""


class ChunkRefused(QuanterrError):
    """A chunk whose problem `bounds` refuses; the message names layer, chunk, rows and remedy."""


class StoreError(QuanterrError):
    """The result file cannot be opened, read or written."""


class CertificateFileError(QuanterrError):
    """A certificate file that cannot be written, or is no certificate, damaged or of another version."""
