"""`python -m ringroad.cli`: the same program, for processes we start ourselves."""

from ringroad.cli import main

if __name__ == "__main__":
    main()
