"""`openo3 publish MODEL_DIR --to FOLDER|hub:NAME`: a checkpoint as a model folder with card and results.

    openo3 publish data/models/gspo --to out/my-model
    openo3 publish data/models/gspo --to hub:me/my-model             # lists what would be uploaded
    openo3 publish data/models/gspo --to hub:me/my-model --push      # uploads it, as a private repository

Parameters and metrics are those of the checkout around the model. Nothing is uploaded without `--push`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from openo3.cli.errors import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL_DIR", help="folder of a trained checkpoint")
    parser.add_argument("--to", required=True, metavar="FOLDER|hub:NAME", help="where it goes")
    parser.add_argument("--push", action="store_true", help="really upload to the hub")
    parser.add_argument("--public", action="store_true", help="a new repository of the hub is public")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="BENCHMARK=OWNER/NAME",
        help="the hub's data set that the records of a benchmark are, for .eval_results; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, or list or upload what would be in it."""
    from openo3.configuration import ConfigurationError
    from openo3.publishing import hub
    from openo3.publishing.folder import write_folder
    from openo3.publishing.run import PublishError

    kind, _, name = arguments.to.partition(":")
    try:
        found = _run(arguments.model, arguments.dataset)
        if kind != "hub":
            if arguments.push or arguments.public:
                raise PublishError("--push and --public are for hub:NAME alone")
            files = write_folder(found, Path(arguments.to))
            print(f"{arguments.to}: {len(files)} files: {', '.join(files)}")
            return 0
        hub.check_name(name)
        if arguments.push:
            print(hub.push(found, name, private=not arguments.public))
            return 0
        with tempfile.TemporaryDirectory() as folder:
            files = write_folder(found, Path(folder) / name.partition("/")[2])
    except (PublishError, ConfigurationError) as error:
        return refuse(error)
    except (OSError, ValueError) as error:  # a name that no file system takes, a full disk
        return refuse(ValueError(f"{arguments.to[:200]}: {' '.join(str(error).split())}"))
    except (AttributeError, LookupError, TypeError) as error:
        said = f"its parameters or metrics have another form: {repr(error)[:200]}; evaluate it again"
        return refuse(PublishError(f"{arguments.model}: {said}"))
    print(f"{arguments.to}: would upload {', '.join(files)}; add --push to do it")
    return 0


def _run(model: Path, named: list[str]) -> Any:
    from openo3.configuration import read_blocks
    from openo3.inference.checkout import PARAMS, checkouts
    from openo3.prompt_file import prompts_path
    from openo3.publishing.run import PublishError, read_run

    if not model.is_dir():
        raise PublishError(f"{model}: no such folder")
    root = next(checkouts(model), None)
    if root is None:
        raise PublishError(f"{model}: lies in no checkout of openo3, whose parameters and metrics are needed")
    datasets = {}
    for each in named:
        benchmark, equals, dataset = each.partition("=")
        if not equals:
            raise PublishError(f"--dataset {each}: expected BENCHMARK=OWNER/NAME")
        datasets[benchmark] = dataset
    return read_run(root, model, read_blocks(root / PARAMS), prompts_path(root / PARAMS), datasets)
