"""Torch files with a checksum as their last bytes: every changed byte is detected."""

import io
import os
from pathlib import Path

import torch

from yolo9000.checkpoints.sealed_zip import problem_of, sealed


def archive() -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save({"step": 4, "weight": torch.arange(3.0)}, buffer)
    return buffer


def put(file: io.FileIO, location: int, value: int) -> None:
    file.seek(location)
    file.write(bytes([value]))


def test_torch_reads_a_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "sealed.pt"
    path.write_bytes(sealed(archive()))
    assert problem_of(path) is None
    found = torch.load(path, weights_only=True)
    assert found["step"] == 4
    assert torch.equal(found["weight"], torch.arange(3.0))


def test_every_changed_byte_is_detected(tmp_path: Path) -> None:
    whole, path = sealed(archive()), tmp_path / "changed.pt"
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for location in range(len(whole)):
            put(file, location, whole[location] ^ (1 << location % 8))
            assert problem_of(path), location
            put(file, location, whole[location])
    assert problem_of(path) is None


def test_every_shorter_or_longer_file_is_detected(tmp_path: Path) -> None:
    whole, path = sealed(archive()), tmp_path / "cut.pt"
    path.write_bytes(whole + b"\0")
    assert problem_of(path)
    for length in reversed(range(len(whole))):
        os.truncate(path, length)
        assert problem_of(path), length


def test_a_file_of_plain_torch_save_has_no_checksum_and_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    path.write_bytes(archive().getvalue())
    assert problem_of(path) is None
