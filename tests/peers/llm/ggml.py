"""ggml's own quantisation and dequantisation, from the library that llama-cpp-python brings."""

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

_LIBRARY = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
_POINTER = ctypes.c_void_p
_LIBRARY.ggml_quantize_chunk.restype = ctypes.c_size_t
_LIBRARY.ggml_quantize_chunk.argtypes = [ctypes.c_int, _POINTER, _POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, _POINTER]


class _Traits(ctypes.Structure):
    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, _POINTER, _POINTER, ctypes.c_int64)),
        ("from_float", _POINTER),
    ]


_LIBRARY.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
_LIBRARY.ggml_get_type_traits.argtypes = [ctypes.c_int]


def quantize(rows: np.ndarray, name: str) -> np.ndarray:
    """f32 rows in the format `name`, as raw bytes (rows, bytes of a row); without importances."""
    rows = np.ascontiguousarray(rows, np.float32)
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    raw = np.zeros((rows.shape[0], rows.shape[1] // block * size), np.uint8)
    written = _LIBRARY.ggml_quantize_chunk(gguf.GGMLQuantizationType[name], rows.ctypes.data, raw.ctypes.data, 0, *rows.shape, None)
    assert written == raw.nbytes, (name, written, raw.nbytes)
    return raw


def dequantize(raw: bytes, name: str) -> np.ndarray:
    """The f32 values of raw blocks."""
    traits = _LIBRARY.ggml_get_type_traits(gguf.GGMLQuantizationType[name]).contents
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    assert (traits.type_name.decode().upper(), traits.block, traits.size) == (name.upper(), block, size)
    source = np.frombuffer(raw, np.uint8)
    values = np.empty(source.size // size * block, np.float32)
    if name == "F32":
        return source.view(np.float32)
    traits.to_float(source.ctypes.data, values.ctypes.data, values.size)
    return values
