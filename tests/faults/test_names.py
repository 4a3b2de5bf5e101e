"""Names that a server gives to files stay in the folder that its caller named."""

import pytest

from atelier.client.errors import UnreadableAnswer
from atelier.client.matting import Folder


@pytest.mark.parametrize("name", ["/etc/passwd", "..", "../x.mp4", "images/../x.png", "images/..", "images/a/b.png"])
def test_a_file_of_an_answer_is_no_path_out_of_the_folder(tmp_path, name):
    folder = Folder(tmp_path / "out", "clip")
    with pytest.raises(UnreadableAnswer, match="does not belong into a folder"):
        folder.write(name, 0, b"x")
    folder.discard()
    assert not list(tmp_path.iterdir())
