"""Check the keys of one data set and build its reader, without looking at any file.

For example:

    reader, settings = read_keys({"reader": "folders", "root": "DIR", "val": 0.2}, "data", READERS)
"""

from collections.abc import Mapping
from dataclasses import fields

from nucleiseg.data.readers.base import Reader
from nucleiseg.data.settings import DataSettings
from nucleiseg.errors import InputError
from nucleiseg.settings import Problems, shown, unknown_key


def read_keys(data: object, key: str, readers: Mapping[str, type[Reader]]) -> tuple[Reader, DataSettings]:
    """Check the keys of a data set and build its reader.

    Args:
        data: a mapping with `reader` (a name of `readers`), that reader's fields and those of `DataSettings`.
        key: what comes before a field's name for the user.
        readers: the accepted readers by name.

    Raises:
        InputError: with a sentence for each unknown or missing key and each value that is not accepted.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{key} is {shown(data)}; it accepts a group of keys with {key}.reader.")
    name = data.get("reader")
    if not isinstance(name, str) or name not in readers:
        raise InputError(f"{key}.reader is {shown(name)}; it accepts one of {', '.join(sorted(readers))}.")
    reader_keys = {item.name for item in fields(readers[name])}
    shared_keys = {item.name for item in fields(DataSettings)}
    known = [f"{key}.{item}" for item in ("reader", *reader_keys, *shared_keys)]
    problems = Problems()
    problems.found += [unknown_key(f"{key}.{item}", known) for item in data if f"{key}.{item}" not in known]
    own = {item: value for item, value in data.items() if item in reader_keys}
    shared = {item: value for item, value in data.items() if item in shared_keys}
    reader = problems.taking(lambda: readers[name].from_dict(own, key))
    settings = problems.taking(lambda: DataSettings.from_dict(shared, key))
    problems.raise_found()
    assert reader is not None
    assert settings is not None
    return reader, settings
