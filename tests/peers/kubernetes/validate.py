"""Reads manifests from standard input, checks each strictly, and prints them as JSON, in their order.

usage: validate.py SCHEMAS VERSION...

Kubernetes' own kinds are held to its own schemas, of each of the VERSIONs; those of prometheus-operator to the files
of the directory SCHEMAS. A kind that neither knows is an error, and so is a key that stands twice in a map, which
YAML readers let pass."""

import functools
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml


class Once(yaml.CSafeLoader):
    """Refuses a map that has a key twice."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check(document, schemas, versions):
    group, _, _ = document["apiVersion"].partition("/")
    if group == "monitoring.coreos.com":
        schema = json.loads((schemas / f"{document['kind']}.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(document)
        return
    for version in versions:
        kubernetes_validate.validate(document, version, strict=True)


def main():
    schemas, versions = pathlib.Path(sys.argv[1]), sys.argv[2:]
    # The definitions of a version are megabytes of JSON, and are read anew for each manifest.
    kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
    documents = [document for document in yaml.load_all(sys.stdin, Once) if document is not None]
    wrong = 0
    for document in documents:
        called = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
        try:
            check(document, schemas, versions)
        except jsonschema.ValidationError as error:
            where = ".".join(str(part) for part in error.absolute_path)
            print(f"{called}: {where}: {error.message}", file=sys.stderr)
            wrong += 1
        except (FileNotFoundError, kubernetes_validate.SchemaNotFoundError):
            print(f"{called}: no schema of {document['apiVersion']} is known", file=sys.stderr)
            wrong += 1
    json.dump(documents, sys.stdout)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
