"""Good points of wide problems, without any proof."""
