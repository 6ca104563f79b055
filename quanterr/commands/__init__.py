"""The commands of `quanterr`, one file each; `quanterr.cli` puts them together."""
