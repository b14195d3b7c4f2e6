"""Prints every key and value of a hive as regipy reads it, as JSON."""

import json
import sys

from regipy.registry import RegistryHive

hive = RegistryHive(sys.argv[1])
found = {}


def walk(key, path):
    found[path + "\\"] = ["key", None]
    if key.values_count:
        for value in key.iter_values(as_json=True):
            found[f"{path}\\{value.name}"] = [value.value_type, value.value]
    if key.subkey_count:
        for subkey in key.iter_subkeys():
            walk(subkey, f"{path}\\{subkey.name}" if path else subkey.name)


walk(hive.root, "")
json.dump(found, sys.stdout)
