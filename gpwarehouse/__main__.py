"""``python -m gpwarehouse``: the same as the command ``gpwarehouse``."""

from gpwarehouse.cli import main

if __name__ == "__main__":
    main()
