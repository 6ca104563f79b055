"""`python -m quanterr`."""

from .cli import main

if __name__ == "__main__":
    main()
