"""Files that are damaged or hostile, made by hand."""

import io
import os
import zipfile

import numpy as np
import pytest


class Planter:
    """Unpickling one of these creates a file, so a test can see whether it happened."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def lying_npy(shape, payload, descr="<f8"):
    """A well-formed header for ``shape`` before a payload of any length."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + payload


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def refusal(call, *args, **kwargs):
    """The message of the ValueError of ``call``: one line that begins with the file's name."""
    with pytest.raises(ValueError, match=r"^\S+: ") as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{args[0]}: ")
    assert "\n" not in message
    return message
