# `make check` runs the fast checks of continuous integration; .ci/run adds the slow tests and the wheel.
.PHONY: check format lint types test slow

check: lint types test

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest

slow:
	pytest -m slow
