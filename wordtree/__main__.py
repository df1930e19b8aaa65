"""`python -m wordtree`: the same as the command `wordtree`."""

from wordtree.cli import main

if __name__ == "__main__":
    main()
