"""Makes faramesh/_wire anew from proto/. Needs the grpcio-tools that pyproject.toml pins (extra `test`).

Only the agent's side of the wire is generated: the SDK speaks nothing else. The stubs that protoc would add for gRPC
are left out, since the client names its three methods itself.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
WIRE = HERE / "faramesh" / "_wire"


def generate(into: pathlib.Path) -> None:
    """Writes agent_pb2.py and agent_pb2.pyi into `into`, with the module name that they have here."""
    from grpc_tools import protoc  # only the generator needs it

    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            [
                "protoc",
                f"-I{PROTO}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                "faramesh/v1/agent.proto",
            ]
        )
        if code != 0:
            raise SystemExit(f"protoc failed with status {code}")
        for name in ("agent_pb2.py", "agent_pb2.pyi"):
            text = (pathlib.Path(scratch) / "faramesh" / "v1" / name).read_text()
            text = text.replace("'faramesh.v1.agent_pb2'", "'faramesh._wire.agent_pb2'")
            (into / name).write_text(text)


if __name__ == "__main__":
    generate(WIRE)
    sys.stdout.write(f"wrote {WIRE}\n")
