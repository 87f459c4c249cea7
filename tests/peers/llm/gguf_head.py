"""The metadata of a GGUF file, without its tensors. Python's standard library alone."""
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


def metadata(path):
    """The key-value pairs of the file at `path` (GGUF 2 and 3, little-endian)."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value

    def string():
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode("utf-8", "surrogateescape")

    def value(kind):
        nonlocal at
        if kind == STRING:
            return string()
        if kind != ARRAY:
            return take(SCALARS[kind])
        of, count = take("I"), take("Q")
        if of in (STRING, ARRAY):
            return [value(of) for _ in range(count)]
        form = f"<{count}{SCALARS[of]}"
        at += struct.calcsize(form)
        return list(struct.unpack_from(form, data, at - struct.calcsize(form)))

    if data[:4] != b"GGUF" or (at := 4) and take("I") not in (2, 3):
        raise ValueError(f"{path} is no GGUF file of version 2 or 3")
    take("Q")
    return {string(): value(take("I")) for _ in range(take("Q"))}
