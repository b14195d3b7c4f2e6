"""EC2's protocol: parameters of a form, answers and errors in XML."""

import uuid
import xml.etree.ElementTree as ET
from urllib.parse import parse_qsl, urlencode

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
ET.register_namespace("", NAMESPACE)


class EC2Error(Exception):
    """A refusal with EC2's code, as "Error codes for the Amazon EC2 API" has them."""

    def __init__(self, code, message, status=400):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status

    def body(self):
        root = ET.Element("Response")
        error = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
        ET.SubElement(error, "Code").text = self.code
        ET.SubElement(error, "Message").text = self.message
        ET.SubElement(root, "RequestID").text = str(uuid.uuid4())
        return ET.tostring(root, encoding="utf-8", xml_declaration=True)


class Call:
    """One request's action and parameters."""

    def __init__(self, body):
        self.params = dict(parse_qsl(body, keep_blank_values=True))
        self.action = self.params.get("Action", "")
        # Whether a rule answered it, and moto did not see it.
        self.is_answered = False

    def get(self, name, default=None):
        return self.params.get(name, default)

    def list(self, prefix):
        """The values of `prefix.1`, `prefix.2`, …"""
        values, number = [], 1
        while f"{prefix}.{number}" in self.params:
            values.append(self.params[f"{prefix}.{number}"])
            number += 1
        return values

    def tags(self, prefix):
        """The pairs of `prefix.1.Key`, `prefix.1.Value`, …"""
        pairs, number = {}, 1
        while f"{prefix}.{number}.Key" in self.params:
            pairs[self.params[f"{prefix}.{number}.Key"]] = self.params.get(f"{prefix}.{number}.Value", "")
            number += 1
        return pairs

    def filter(self, name):
        """The values of the filter of that name, or None."""
        number = 1
        while f"Filter.{number}.Name" in self.params:
            if self.params[f"Filter.{number}.Name"] == name:
                return self.list(f"Filter.{number}.Value")
            number += 1
        return None

    def body(self):
        return urlencode(self.params).encode()


def parse(body):
    return ET.fromstring(body)


def to_bytes(root):
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def tag(name):
    return f"{{{NAMESPACE}}}{name}"


def child(element, path):
    for name in path.split("/"):
        if element is None:
            return None
        element = element.find(tag(name))
    return element


def text(element, path):
    found = child(element, path)
    return None if found is None else found.text


def set_text(element, path, value):
    """Sets the text of an element; makes what is missing on the way."""
    for name in path.split("/"):
        found = element.find(tag(name))
        element = ET.SubElement(element, tag(name)) if found is None else found
    element.text = value


def remove(element, name):
    found = element.find(tag(name))
    if found is not None:
        element.remove(found)


def items(root, path):
    """The items of a set and the set itself."""
    found = child(root, path)
    return ([], None) if found is None else (found.findall(tag("item")), found)
