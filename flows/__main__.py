"""`python -m flows`: run `annual_map` once, on Prefect's own embedded server unless PREFECT_API_URL names another."""

import argparse
import os
import sys
from pathlib import Path

# read by Prefect when it is imported
_EMBEDDED = {
    "PREFECT_HOME": str(Path.cwd() / ".prefect"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline,flows",  # their warnings are shown with the run's own messages
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "DO_NOT_TRACK": "1",
}


def main() -> int:
    """Run the flow with what the command line gives; the exit status is 0 only if it completed."""
    parser = argparse.ArgumentParser(prog="python -m flows", description="Map one year, as a Prefect flow.")
    parser.add_argument("--year", type=int, help="year of the observations")
    parser.add_argument("--out", help="folder of all outputs, or a URL such as s3://bucket/prefix")
    parser.add_argument("--config", type=Path, dest="config_file", help="TOML configuration")
    parser.add_argument("--granules", type=Path, help="folder of VNP15A2H granules; without it Italy is simulated")
    parser.add_argument("--reference", type=Path, help="EUCROPMAP GeoTIFF to compare with")
    parser.add_argument("--iterations", type=int, help="iterations of joint training; 3000 as in the paper")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; default: workers on this machine")
    parser.add_argument("--workers", type=int, help="workers on this machine")
    arguments = parser.parse_args()
    if "PREFECT_API_URL" not in os.environ:
        for name, value in _EMBEDDED.items():
            os.environ.setdefault(name, value)

    from flows.annual import annual_map

    state = annual_map(**vars(arguments), return_state=True)
    print(state.message)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
