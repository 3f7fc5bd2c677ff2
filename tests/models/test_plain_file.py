import os
from pathlib import Path

import pytest

from models.plain_file import FileError, read


def test_the_bytes_of_a_plain_file_and_none_where_there_is_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / "absent", most_bytes=3) is None
    (tmp_path / "three").write_bytes(b"abc")
    assert read(tmp_path / "three", most_bytes=3) == b"abc"
    with pytest.raises(FileError, match="three: expected at most 2 bytes"):
        read(tmp_path / "three", most_bytes=2)


def test_a_link_is_refused_even_to_a_plain_file_and_a_pipe_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("plain")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(FileError, match=f"^{name}: expected a regular file$"):
            read(tmp_path / name, most_bytes=3)


def test_a_file_in_what_is_no_folder_is_said_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"abc")
    with pytest.raises(FileError, match=r"^below: Not a directory$"):
        read(tmp_path / "plain" / "below", most_bytes=3)
