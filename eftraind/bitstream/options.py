"""The flags of `eftraind bitstream`."""

import argparse
from pathlib import Path

FOLDER = Path("bitstreams")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="check manifests and the files they name")
    verify.add_argument("manifests", nargs="*", type=Path, metavar="FILE", help="all, if none")
    verify.add_argument("--lanes", type=int, metavar="T", help="and that programs of T run on it")
    listing = actions.add_parser("list", help="what there is")
    sealing = actions.add_parser("seal", help="write the manifest of a build (make bit does)")
    sealing.add_argument("built", type=Path, metavar="DIRECTORY", help="where Vivado ran")
    for below in (verify, listing, sealing):
        below.add_argument(
            "--folder",
            type=Path,
            default=FOLDER,
            help=f"where bitstreams of all boards are ({FOLDER})",
        )
