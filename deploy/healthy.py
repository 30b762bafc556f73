"""`python healthy.py URL`: status 0 if it answers with success within 5 seconds; the image has no curl."""

import sys
import urllib.error
import urllib.request


def main() -> int:
    """Ask once, and write to standard error what was wrong."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=5):  # noqa: S310 - the health check names the URL
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
