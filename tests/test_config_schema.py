"""The JSON Schema that editors use: current, valid, and of one mind with the loader."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from config.load import load
from config.nodes import parse
from config.params import Options
from config.schema import schema, schema_text
from pipelines.operator import load_all
from tests.config_specs import STEPS

CONFIG = Path(__file__).parents[1] / "config"
EXAMPLES = sorted(p for p in (CONFIG / "examples").rglob("*.yaml") if ".test." not in p.name)


class AnyOptions(Options):
    pass


@pytest.fixture(scope="module")
def steps():
    return load_all()


def test_the_committed_schema_is_current(steps):
    assert (CONFIG / "sensorweir.schema.json").read_text() == schema_text(steps), (
        "make it anew, see config/README.md"
    )


def test_it_is_a_schema(steps):
    jsonschema.Draft202012Validator.check_schema(schema(steps))


def test_every_reference_in_it_leads_somewhere(steps):
    whole = schema(steps)
    refs = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(whole)))
    assert refs <= set(whole["$defs"])
    assert set(whole["$defs"]) <= refs


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_validate(path, steps):
    document = parse(path.read_bytes(), str(path), os.environ, path.parent)
    assert document.problems == []
    jsonschema.validate(document.root.data(), schema(steps))


def test_examples_load(steps):
    decoders = {"json": AnyOptions, "senml": AnyOptions}
    got = load(CONFIG / "examples" / "gateway.yaml", steps, decoders, {})
    others = set(EXAMPLES) - set(got.files)
    assert not {"examples", "pipelines.d"} & {path.parent.name for path in others}
    assert all(load(path, steps, decoders, {}).gateway.pipelines for path in others)
    assert got.warnings == ()
    assert set(got.gateway.pipelines) >= {"overheat", "silent", "odd", "site_hot"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_name_their_schema(path):
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == CONFIG / "sensorweir.schema.json"


AGREE = [
    ("pipelines: {p: {from: s, steps: [range]}}", True),
    ("pipelines: {p: {from: s, steps: [range: ]}}", True),
    ("pipelines: {p: {from: s, steps: [range: {min: '{low}'}]}}", True),
    ("pipelines: {p: {from: s, steps: [range: {n: '${N}'}]}}", True),
    ("pipelines: {p: {from: s, where: {site: [a, 3], device: 4}}}", True),
    ("pipelines: {p: {from: s, values: {a: 3, b: {default: 2}}}}", True),
    ("pipelines: {p: {from: {alerts: q}}}", True),
    ("pipelines: {p: {from: s, alert: {when: {outside: [1, '{x}']}}}}", True),
    ("broker: {protocol: 5, keepalive: 30s}", True),
    ("limits: {message_bytes_max: 1MiB, outbox_bytes_max: 70000}", True),
    ("pipelines: {p: {from: s, steps: [rnge]}}", False),
    ("pipelines: {p: {from: s, steps: [range: {mn: 3}]}}", False),
    ("pipelines: {p: {from: s, steps: [range: {wait: '{low}'}]}}", False),
    ("pipelines: {p: {from: s, steps: [range: {n: many}]}}", False),
    ("pipelines: {p: {from: s, steps: [last: {n: 3, k: '{k}'}]}}", True),
    ("pipelines: {p: {from: s, steps: [last: {n: '{n}'}]}}", False),
    ("pipelines: {p: {steps: [range]}}", False),
    ("pipelines: {p: {from: s, steps: [{range: , score: }]}}", False),
    ("pipelines: {p: {from: s, alert: {severity: bad}}}", False),
    ("sources: {s: {topic: a, lateness: 5}}", False),
    ("sources: {s: {}}", False),
    ("gatway: x", False),
]


@pytest.mark.parametrize(("text", "good"), AGREE)
def test_schema_agrees_with_the_models(text, good):
    data = parse(text.encode(), "x", {}, Path()).root.data()
    valid = jsonschema.Draft202012Validator(schema(STEPS)).is_valid(data)
    assert valid is good


def test_operators_have_descriptions_and_defaults():
    own = schema(STEPS)["$defs"]["step-score"]["properties"]["k"]
    assert own["description"] == "How far is too far."
    assert own["default"] == 5.0


# --- the editor ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_server(tmp_path_factory):
    """Command of yaml-language-server, installed into a folder of its own."""
    if shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-fund", "--no-audit", "yaml-language-server@1.15.0"],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"yaml-language-server cannot be installed: {done.stderr[-200:]}")
    return [str(folder / "node_modules/.bin/yaml-language-server"), "--stdio"]


class Editor:
    """Just enough of the language server protocol to open a file and read its diagnostics."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while (line := self.process.stdout.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(length))

    def diagnostics(self, path, text):
        uri = path.as_uri()
        item = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.send(method="textDocument/didOpen", params={"textDocument": item})
        while True:
            message = self.receive()
            if "id" in message and "method" in message:
                count = len(message["params"].get("items", [])) if message.get("params") else 0
                self.send(id=message["id"], result=[None] * count)
            elif (
                message.get("method") == "textDocument/publishDiagnostics"
                and message["params"]["uri"] == uri
            ):
                self.send(method="textDocument/didClose", params={"textDocument": {"uri": uri}})
                return message["params"]["diagnostics"]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def test_an_editor_underlines_a_wrong_key(language_server):
    editor = Editor(language_server)
    try:
        editor.send(
            id=1,
            method="initialize",
            params={"capabilities": {}, "processId": None, "rootUri": None},
        )
        while editor.receive().get("id") != 1:
            pass
        editor.send(method="initialized", params={})
        path = CONFIG / "examples/pipelines.d/boilers.yaml"
        text = path.read_text()
        assert editor.diagnostics(path, text) == []
        [wrong] = editor.diagnostics(
            path.with_name("x.yaml"), text.replace("severity: major", "severty: major")
        )
        line = text[: text.index("severity: major")].count("\n")
        assert wrong["range"]["start"]["line"] == line
        assert "severty" in wrong["message"]
    finally:
        editor.close()
