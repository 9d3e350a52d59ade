"""`python -m core` is `titan`."""

from core.cli import main

if __name__ == "__main__":
    main()
